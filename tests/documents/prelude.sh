# What the blocks of a page may use besides bash and token-ledger: stand-ins for curl (behind `tl`) and for jq, so that
# the pages can be run where there is neither.
tl() { "$PYTHON" "$TOOLS/request.py" "$@"; }
jq() { "$PYTHON" "$TOOLS/extract.py" "$@"; }
