"""What this user's ratoon keeps outside every run: a folder, and a key that tells our own records from a stranger's."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any


def folder() -> Path:
    """$RATOON_STATE, else $XDG_STATE_HOME/ratoon, else ~/.local/state/ratoon. Raises RuntimeError where there is no home."""
    own, xdg = os.environ.get("RATOON_STATE"), os.environ.get("XDG_STATE_HOME")
    return Path(own) if own else (Path(xdg) if xdg else Path.home() / ".local" / "state") / "ratoon"


def seal(record: Mapping[str, Any]) -> str | None:
    """What only this user can write under a record; None where no key can be kept."""
    key = _key()
    if key is None:
        return None
    text = json.dumps({name: value for name, value in record.items() if name != "seal"}, sort_keys=True)
    return hmac.new(key, text.encode(), sha256).hexdigest()


def is_ours(record: Mapping[str, Any]) -> bool:
    """Whether the `seal` of a record is ours."""
    ours, theirs = seal(record), record.get("seal")
    return ours is not None and isinstance(theirs, str) and hmac.compare_digest(ours.encode(), theirs.encode(errors="replace"))


def _key() -> bytes | None:
    """This user's key, made at first use."""
    with suppress(OSError, RuntimeError):  # a home that is read-only, or none at all, stops no run
        path = folder() / "key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32))
            with suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
            temporary.unlink()
        return path.read_bytes()
    return None
