import sys

from benchmarks import main
from exsa_lab.runtime.library import llama

llama()  # before numpy, as in `exsa_lab.bench`
sys.exit(main())
