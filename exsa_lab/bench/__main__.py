import sys

from exsa_lab.bench import main

sys.exit(main())
