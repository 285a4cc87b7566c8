"""The command `maskline`: a tree of commands, each imported only when it is called, so that `serve` starts fast."""

from engine.cli.tree import CommandTree

main = CommandTree(
    name="maskline",
    help="Masked calls and messages: the engine and its operator's commands.",
    commands={
        "serve": "engine.cli.serve:serve",
        "cluster": "engine.cli.cluster:cluster",
        "demo": "engine.cli.demo:demo",
        "account": "engine.cli.accounts:account",
        "apikey": "engine.cli.apikeys:apikey",
        "numbers": "engine.cli.numbers:numbers",
        "pool": "engine.cli.pools:pool",
        "service": "engine.cli.services:service",
        "sessions": "engine.cli.sessions:sessions",
        "explain": "engine.cli.sessions:explain",
        "alerts": "engine.cli.alerts:alerts",
        "console": "engine.cli.console:console",
        "outbox": "engine.cli.outbox:outbox",
        "sip": "engine.cli.sip:sip",
        "feed": "engine.cli.feed:feed",
        "smpp": "engine.cli.smpp:smpp",
        "backup": "engine.cli.backup:backup",
        "restore": "engine.cli.backup:restore_command",
        "database": "engine.cli.database:database",
        "rebalance": "engine.cli.rebalance:rebalance_command",
        "bench": "engine.cli.bench:bench",
    },
)
"""Entry point of the console command."""
