"""What an earlier forecastd wrote or promised, held against the code of today."""
