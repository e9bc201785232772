"""Origin of every stored result, and what is out of date. Does not use Kedro."""
