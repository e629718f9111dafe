import sys

from exsa_lab.cli import main

sys.exit(main())
