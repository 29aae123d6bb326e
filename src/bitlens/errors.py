"""The errors a user can meet: what was found, what was expected, what to do."""


class BitlensError(Exception):
    """A mistake the user can mend; printed without a traceback, exit code 2.

    `found` names the value met, `expected` what would have worked, `remedy` what to type.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{found}\nExpected: {expected}\nTry: {remedy}")
