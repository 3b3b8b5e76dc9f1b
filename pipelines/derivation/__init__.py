"""What rests on what: days that are out of date, and what a change of a day puts out of date."""
