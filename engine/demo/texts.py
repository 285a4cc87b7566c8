"""What people write in the demo: everyday messages in many scripts, and every character that XML is touchy about."""

PLAIN = (
    "I'm outside, black Corolla",
    "2 min away",
    "Can you come to the back door?",
    "On my way!",
    "Where are you exactly?",
    "Corner of 5th & Main, by the <blue> awning",
    'She said "door 12" & then left',
    "ok",
    "Thanks :-)",
    "Running late, sorry. 10 more minutes, traffic on the bridge",
    "Gate code is #4711*",
    "a < b && b > c ]]> 'quoted'",
    "Is +1 555 your number? Just kidding, I can't see it",
    "  two spaces in front and behind  ",
    "line one\nline two\n\nline four",
    "https://example.com/track?id=42&lang=en#map",
)
"""English, with ampersands, quotes, angle brackets, line breaks and outer spaces."""

UNICODE = (
    "Je suis arrivé·e, à tout de suite ☕️",
    "Ich warte am Brandenburger Tor — Straßenseite",
    "わたしは改札の前にいます",
    "你到了吗?我在门口等你",
    "أنا عند الباب",
    "אני בחוץ, ליד הקיוסק",
    "Жду вас на улице",
    "मैं बाहर हूँ",
    "ฉันมาถึงแล้ว",
    "👩‍👩‍👧‍👦 table for four? 🏳️‍🌈",
    "e\u0301 is é, Å is A\u030a",
    "zero\u200bwidth and non\u00a0breaking",
    "Gothic 𐍈 and cuneiform 𒀀",
    "Olá! Já cheguei 🎉",
)
"""Other scripts, right to left, joined emoji, combining marks, characters beyond the basic plane."""

SPANISH = (
    "¿Está en casa? Traigo su paquete",
    "Sí, timbre 3º B",
    "Mañana después de las 5, por favor",
    "Ya salí, llego en 10 minutos",
    "¡Gracias! 📦",
)
"""For Mexico and Argentina."""

LONG = "The long one. " + "Meet me where we met last time, and bring the small umbrella. " * 24
"""About 1,500 characters: ten segments."""

DROPPED = (
    *("STOP", "Stop", " stop ", "sToP\n", "UNSUBSCRIBE", "unsubscribe", "END", "Cancel", "QUIT", "quit", "STOPALL"),
    *("ARRET", "arret", "ARRETT", "ARRETE", "UNSTOP", "Revoke", "OPTOUT"),
)
"""Opt-out words as people type them: none is forwarded."""

FORWARDED = ("START", "yes", "DEBUT", "HELP", "info", "STOPPING", "please stop", "STOP!", "the end", "Don't cancel")
"""Words that look alike or opt in: all are forwarded."""
