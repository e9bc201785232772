"""CT physics and geometry in NumPy; imports neither torch nor Kedro."""
