#!/bin/bash
# A real node makes exits at a steady rate, coronerd stores them, and neither memory nor descriptors grow.
#
#   test/soak.sh [SECONDS [PER_SECOND]]       default: 3600 s, 2,000 exits/s
#
# A line a minute on stdout says how it stands; the last line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 70
make -s soak-parts >&2 || exit 70
exec /usr/bin/python3 test/e2e/soak_test.py --daemon priv/coronerd --seconds "${1:-3600}" --rate "${2:-2000}"
