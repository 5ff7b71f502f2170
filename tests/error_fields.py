"""Assertions about the fields of errors."""

import re


def assert_fields(error: BaseException, **fields: object) -> None:
    """Assert what fields of an error hold: ``found`` a value, others a text or several in order.

    Texts and numbers are to be whole words and numbers of the field: 1 is not in ``-1`` or ``1.5``.
    """
    for name, values in fields.items():
        wanted = values if isinstance(values, tuple) else (values,)
        pattern = ".*".join(
            rf"(?<![\w.-]){re.escape(str(value))}(?![\w-]|[.,]\d)" for value in wanted
        )
        field = getattr(error, name)
        holds = field == str(values) if name == "found" else re.search(pattern, field, re.DOTALL)
        assert holds, f"{name} is {field!r}; expected {values!r}"
