"""What the code of a network raises where it cannot be what is asked of it: families fail in ways of their own."""

UNFIT = (TypeError, LookupError, ValueError, ArithmeticError, AssertionError, RuntimeError, AttributeError)
