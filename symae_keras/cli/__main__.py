"""The command line as `python -m symae_keras.cli`."""

import sys

from symae_keras.cli.main import main

sys.exit(main())
