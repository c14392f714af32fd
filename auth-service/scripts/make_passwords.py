"""Makes the shipped list of leaked passwords from the library `zxcvbn`, and says the checksum.

    make passwords

PROVENANCE.md beside the file says where it comes from.
"""

import hashlib
import sys
from pathlib import Path

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from auth_service.domain.passwords import SHORTEST, prepared

_FILE = Path(__file__).parents[1] / "src/auth_service/passwords/leaked.txt"


def leaked() -> list[str]:
    """Those long enough to get past the length rule, as `accepted` compares them."""
    return sorted({prepared(password).casefold() for password in FREQUENCY_LISTS["passwords"] if len(password) >= SHORTEST})


def main() -> None:
    content = "".join(f"{password}\n" for password in leaked()).encode()
    _FILE.write_bytes(content)
    sys.stdout.write(f"{len(leaked())} passwords, SHA-256 {hashlib.sha256(content).hexdigest()}\n")


if __name__ == "__main__":
    main()
