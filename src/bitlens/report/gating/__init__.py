"""What came of a gate, as a terminal, a pull request and a service of tests show it."""
