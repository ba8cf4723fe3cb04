"""The connection that Dify keeps: checked against the live gate before it is saved."""

from typing import Any

from dify_plugin import ToolProvider
from dify_plugin.errors.tool import ToolProviderCredentialValidationError
from gate_tools.connection import check
from stacksona import GateError


class StacksonaGate(ToolProvider):
    """Stacksona Gate, as one agent."""

    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        try:
            check(credentials)
        except GateError as error:
            raise ToolProviderCredentialValidationError(str(error)) from None
