"""Why a swap is refused or given up."""


class SwapRefused(Exception):
    """Raised where the models that serve stay as they are.

    Args:
        code: stable, public name of the reason.
        detail: what is wrong and what to do next.
        status: HTTP status.
    """

    def __init__(self, code: str, detail: str, status: int = 422) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
