"""Mistakes by which a caller may do what its key does not say."""

from tests.mutation.target import Target, target

ACCESS = "service/access"
TEST_ACCESS = "tests/service/access"

GUARD = target("service/http/auth.py", "tests/service/http/test_auth.py")
KEYS = target(f"{ACCESS}/api_keys.py", f"{TEST_ACCESS}/test_api_keys.py")
KEYS_FILE = target(f"{ACCESS}/keys_file.py", f"{TEST_ACCESS}/test_keys_file.py")
ROTATION = target(f"{ACCESS}/rotation.py", f"{TEST_ACCESS}/test_rotation.py")
APP = target("service/app.py", "tests/service/http/test_auth.py")

LOGS = target("service/observability/logs.py", "tests/service/observability/test_logs.py")
PRINTED = target("service/observability/printed.py", "tests/service/observability/test_printed.py")

ACCESS_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    GUARD: [
        ("if key:  # before Basic", "if key and scheme.lower() != 'basic':  # before Basic"),
        ('decoded.partition(b":")[2] or None', 'decoded.partition(b":")[0] or None'),
        (
            """(scope["method"], scope["path"]) not in self._open""",
            """scope["path"] not in {p for _, p in self._open}""",
        ),
        ("key is None or wanted not in key.scopes", "key is not None and not key.scopes"),
        ("if not self._state.keys.are_required:", "if self._state.keys.num_keys < 2:"),
        ("""{"caller": key.name}""", "{}"),
    ],
    KEYS: [
        (
            "if hmac.compare_digest(digest, key.digest) else found",
            "if digest == key.digest else found",
        ),
        ("bool(self._fixed) or file is not None", "bool(self._fixed)"),
        ("len(self._ever) > 1", "len(self._keys) > 1"),
        (
            "tuple(dict.fromkeys((*self._fixed, *found)))",
            "tuple(dict.fromkeys((*self._keys, *found)))",
        ),
        ("if key.digest in of_setting and", "if key in self._fixed and"),
    ],
    KEYS_FILE: [
        ("content.removeprefix(_BOM)", "content"),
        ("if len(found) < len(named):", "if not found:"),
        ("if len(options) < len(words):", "if not words and options:"),
        (
            "if keys.setdefault(key.digest, key) != key:",
            "if keys.setdefault(key.digest, key) is None:",
        ),
    ],
    ROTATION: [
        ("self._metrics.keys_file_broken.set(1)", "pass"),
        ("self._metrics.keys_file_broken.set(0)", "pass"),
    ],
    APP: [
        (
            '"admin": (streams.changes, admin.router),',
            '"admin": (admin.router,),\n    "open": (health.router, streams.changes),',
        ),
    ],
    LOGS: [
        (
            "allow_nan=False, **options)\n    except ValueError:\n        pass",
            "**options)\n    except ValueError:\n        pass",
        ),
        ("except RecursionError:", "except KeyError:"),
    ],
    PRINTED: [
        ("return self._named", "return super().fileno()"),
        ("shown[-MAX_LINE_BYTES:]", "shown"),
        ("""line.rstrip(b"\\r").rpartition(b"\\r")[2]""", "line"),
        ("os.dup2(writing, descriptor)", "pass"),
    ],
}
