"""What every stored result was made from, and what is out of date. No Kedro below this folder."""
