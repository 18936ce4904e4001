"""What the bundle starts."""

import sys

from mcp_bridge.__main__ import main

sys.exit(main())
