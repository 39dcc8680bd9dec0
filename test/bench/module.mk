# What it costs: one JSON object a line on stdout. Ratios within one run are what counts; machines differ.

.PHONY: bench
bench: all
	@mkdir -p $(B)/bench
	@erlc +warnings_as_errors -o $(B)/bench test/bench/node_bench.erl
	@erl -noshell -pa $(APP)/ebin $(B)/bench -kernel logger_level critical -eval 'node_bench:main(), halt().'
