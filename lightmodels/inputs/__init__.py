"""From raw data, such as files, texts and rows of a table, to inputs of a trained model."""
