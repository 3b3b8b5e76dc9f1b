"""Features said once: of a declaration follow the built table, Feast's view, the models' inputs and what is pushed."""
