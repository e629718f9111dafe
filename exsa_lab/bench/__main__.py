import sys

from exsa_lab.errors import RuntimeUnavailable
from exsa_lab.runtime.library import llama

try:
    # Before numpy: with a CUDA build the other order ended the process on one machine when a model was loaded.
    llama()
except RuntimeUnavailable as error:
    sys.exit(str(error))

from exsa_lab.bench import main

sys.exit(main())
