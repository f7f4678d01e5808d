"""One module a claim: its name with `_` is the script's with `-`. Each has `measure(bench: Bench) -> Result`."""
