"""Forms of tests: problems of a benchmark and how their tests run a program; `registry` lists them."""
