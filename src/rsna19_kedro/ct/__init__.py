"""CT physics and geometry in numpy; knows neither torch nor Kedro."""
