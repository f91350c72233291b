"""The keys that are accepted now, of the setting and of the file."""

import hashlib
import hmac
import threading
from collections.abc import Iterable
from pathlib import Path

from rm_core.errors import ConfigurationError
from service.access.keys_file import ApiKey, FileState, UnreadableFile, read_keys, state_of
from service.settings import Settings


class ApiKeys:
    """The accepted keys; those of the file change when it does.

    Args:
        fixed: keys of the setting.
        file: holds more of them; None: there are none.

    Raises:
        ConfigurationError: the file can't be used.
    """

    def __init__(self, fixed: Iterable[ApiKey] = (), file: Path | None = None) -> None:
        self._fixed = tuple(dict.fromkeys(fixed))
        self._file = file
        self._file_state: FileState | None = None
        self._reading = threading.Lock()
        self._keys = self._fixed
        self._ever: set[bytes] = {key.digest for key in self._fixed}
        self.are_required = bool(self._fixed) or file is not None
        if file is not None:
            self.read()

    @classmethod
    def of(cls, settings: Settings) -> "ApiKeys":
        """The keys that the settings name.

        Raises:
            ConfigurationError: a key is empty, or the file can't be used.
        """
        values = [key.get_secret_value() for key in settings.api_keys]
        if any(not value.strip() for value in values):
            raise ConfigurationError("an API key is empty; remove it or give it a value")
        return cls([ApiKey.of(value.encode()) for value in values], settings.api_keys_file)

    @property
    def file(self) -> Path | None:
        """The file that is looked at again."""
        return self._file

    @property
    def num_keys(self) -> int:
        """How many are accepted now."""
        return len(self._keys)

    @property
    def are_several(self) -> bool:
        """Whether there are callers to be kept apart, or have been since the start."""
        return len(self._ever) > 1

    def find(self, given: bytes) -> ApiKey | None:
        """The accepted key that has these bytes; None where none has.

        Takes the same time whichever it is or nearly is.
        """
        digest = hashlib.sha256(given).digest()
        found: ApiKey | None = None
        for key in self._keys:  # no early exit
            found = key if hmac.compare_digest(digest, key.digest) else found
        return found

    def read_if_changed(self) -> bool:
        """Read the file again if it is another than when it was last looked at.

        Returns:
            Whether it was read.

        Raises:
            ConfigurationError: the file can't be used; the keys stay as they are.
        """
        if self._file is None or state_of(self._file) == self._file_state:
            return False
        self.read()
        return True

    def read(self) -> None:
        """Read the file again.

        Raises:
            ConfigurationError: the file can't be used; the keys stay as they are.
        """
        if self._file is None:
            return
        with self._reading:
            # Looked at before it is read: what is written meanwhile is read next time.
            self._file_state = state_of(self._file)
            try:
                found = read_keys(self._file)
            except UnreadableFile:
                # No descriptor is left, say: the same file is to be read as soon as it can be.
                self._file_state = None
                raise
            of_setting = {key.digest for key in self._fixed}
            for key in found:
                if key.digest in of_setting and key not in self._fixed:
                    raise ConfigurationError(
                        f"api_keys_file {self._file} gives scopes or a name to a key that the "
                        "setting api_keys holds as well; remove it from there"
                    )
            self._keys = tuple(dict.fromkeys((*self._fixed, *found)))
            self._ever |= {key.digest for key in self._keys}
