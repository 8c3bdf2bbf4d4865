"""What the results say: pure functions of rows, which know neither the store nor the terminal."""
