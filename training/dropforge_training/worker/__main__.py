"""python -m dropforge_training.worker"""

import sys

from dropforge_training.worker.queue_worker import main

sys.exit(main())
