"""Words, keywords and spelling as each script has them."""

from __future__ import annotations

import pytest
from routing.catalogs import catalog_of, flow

from agentic_flywheel.models import Query
from agentic_flywheel.routing import choose_route, fit_router
from agentic_flywheel.routing.words import words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Write a poem, don't stop", ["write", "a", "poem", "don", "t", "stop"]),
        ("क्रेडिट कार्ड की फ़ीस", ["क्रेडिट", "कार्ड", "की", "फ़ीस"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("退款 ＡＢＣ１２３", ["退", "款", "abc123"]),
        ("ｶｰﾄﾞ", ["カ", "ー", "ド"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("မာစာ", ["မာ", "စာ"]),
        # A particle fits the sound before it, or it is none; "do" behind a noun goes with all that follows it.
        ("주문을 취소했어요 배송되나요", ["주문", "취소", "배송"]),
        ("택배가 서울로 메일로 직장으로는", ["택배", "서울", "메일", "직장"]),
        ("회의 어린이를 창가 가을", ["회의", "어린이", "창가", "가을"]),
        ("وَصَلَ الكِتابُ ٣", ["وصل", "الكتاب", "3"]),
        ("أين إلى", ["اين", "الي"]),
        ("می‌خواهم", ["ميخواهم"]),
        ("שָׁלוֹם", ["שלום"]),
        ("İzmir'e", ["izmir", "e"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("ΠΑΡΑΓΓΕΛΙΑ παραγγελία", ["παραγγελια", "παραγγελια"]),
        ("Ёлка, мой", ["елка", "мой"]),
        ("co\u00adoperate \u200b.", ["cooperate"]),
        ("C++20, (C++), C++/CLI", ["c++", "20", "c++", "c++", "cli"]),
        ("C#'s .NET, ASP.NET; C", ["c#", "s", ".net", "asp", ".net", "c"]),
        ("Ｃ＃が C++로 C♯", ["c#", "が", "c++", "로", "c#"]),
        ("order# 17, #refund a#1 internet a.netx", ["order", "17", "refund", "a", "1", "internet", "a", "netx"]),
        ("🙂 ؟", []),
        ("Վա՞րկ, վարկ՛", ["վարկ", "վարկ"]),
        ("компʼютер toʻlov комп'ютер", ["комп", "ютер", "to", "lov", "комп", "ютер"]),
        ("creanţe creanțe ştire știre", ["creanțe", "creanțe", "ştire", "ştire"]),
        ("ሐኪም ሀኪም ሃኪም, ፀሐይ ጸሀይ, ዓለም አለም", ["ሀኪም", "ሀኪም", "ሀኪም", "ጸሀይ", "ጸሀይ", "አለም", "አለም"]),
        ("hoá hóa thuỷ thủy quý hoán", ["hóa", "hóa", "thủy", "thủy", "quý", "hoán"]),
        ("കാർ കാര്\u200d", ["കാര്", "കാര്"]),
        ("in\u200bvoice", ["invoice"]),
    ],
)
def test_words_are_those_of_the_script(text: str, said: list[str]) -> None:
    assert words(text) == said


def test_however_a_letter_is_composed_the_word_is_the_same() -> None:
    assert words("Vie\u0323\u0302t") == words("Việt") != words("Viet")


def hits(keyword: str, question: str, *, examples: tuple[str, ...] = ()) -> bool:
    """Whether a keyword is found in a question put to a catalog that has it."""
    catalog = catalog_of(flow("one", keywords=(keyword,), examples=examples), flow("other"))
    route = choose_route(Query(question=question), fit_router(catalog), catalog)
    return any(each.kind == "keyword" for each in route.evidence)


GERMAN = ("Wann kommt meine Rechnung und was ist das", "Ich kann mich nicht anmelden")
HUNGARIAN = ("Hol van a csomagom", "Küldjék el a számlát", "Nem jött meg, hogyan tovább")
TURKISH = ("Faturamı gönderir misiniz", "Oda çok sıcak, ısıtma çalışıyor mu")


@pytest.mark.parametrize(
    ("keyword", "question", "examples"),
    [
        ("退款", "请问我的退款什么时候到账", ()),
        ("カード", "クレジットカードで支払いたい", ()),
        ("พัสดุ", "ขอเช็กสถานะพัสดุหน่อย", ()),
        ("заказ", "где мои заказы", ()),
        ("환불", "환불을 받고 싶어요", ()),
        ("방", "방이 너무 추워요", ()),
        ("فاتورة", "أين الفاتورة من فضلك", ()),
        ("فاتورة", "لم تصلني فاتورتي", ()),
        ("חשבונית", "איפה החשבונית שלי", ()),
        ("Rechnung", "Die Stromrechnung ist zu hoch", GERMAN),
        ("Rechnung", "Wo steht die Rechnungsnummer?", GERMAN),
        ("fatura", "Faturamı göremiyorum", TURKISH),
        ("ısıtma", "ISITMA ÇALIŞMIYOR", TURKISH),
        ("iade", "İADE İSTİYORUM", TURKISH),
        ("возврат", "хочу оформить возврата", ()),
        ("faktura", "gdzie są moje faktury", ()),
        ("réservation", "annuler ma reservation", ("je veux annuler la réservation",)),
        ("Rückgabe", "RUECKGABE MOEGLICH?", ("ist die Rückgabe möglich und wann",)),
        ("बिल", "मेरा बिल कहाँ है", ()),
        ("فاکتور", "فاکتور\u200cهای من کجاست؟", ()),
        ("مرسوله", "مرسوله\u200cام نیامد", ()),
        ("فاکتور", "فاکتورم کجاست", ()),
        ("számla", "A számlámon hiba van", HUNGARIAN),
        ("رسید", "رسیدیں کہاں ہیں؟", ("میری رسید کہاں ہے؟",)),
        ("விலைப்பட்டியல்", "விலைப்பட்டியலில் பிழை உள்ளது", ("என் விலைப்பட்டியல் எங்கே?",)),
        ("እሽግ", "እሽጌ አልደረሰም", ("እሽጉ መቼ ይደርሳል",)),
        ("ደረሰኝ", "በደረሰኙ ላይ ስህተት አለ", ("ደረሰኜ የት ነው",)),
        ("ანგარიში", "ანგარიშში შეცდომაა", ("სად არის ჩემი ანგარიში?",)),
        ("C#", "C#'ta döngü nasıl yazılır", TURKISH),
        ("C++", "C++でソートしたい", ()),
        (".NET", "ASP.NET hosting", ()),
    ],
)
def test_a_keyword_is_found_in_the_forms_that_its_language_gives_it(
    keyword: str, question: str, examples: tuple[str, ...]
) -> None:
    assert hits(keyword, question, examples=examples)


@pytest.mark.parametrize(
    ("keyword", "question", "examples"),
    [
        ("कर", "मैं क्या करूँ, ऐप नहीं करता", ()),
        ("story", "is the storyboard ready", ()),
        ("Rechnung", "Das hat keine Berechnung", GERMAN),
        ("방", "방법을 알려 주세요", ()),
        ("sık", "çok sik", ("bu çok sık oluyor", "ışık açık")),
        ("mã", "ma ở đâu ấy nhỉ, tôi không biết", ("mã đơn hàng của tôi",)),
        ("退款", "退货以后款式可以换吗", ()),
        ("سلام", "سلامت باشید", ("سلام چطور",)),
        ("ቤት", "ቤተሰብ አለኝ", ("እሽጉ መቼ ይደርሳል",)),
        ("порт", "хочу портрет", ("в порт пришло судно",)),
        ("bill", "es sind eine billion Euro", GERMAN),
        ("código", "¿dónde está el codicioso?", ("no recibo el código",)),
        ("C", "is C++ hard", ()),
        ("C++", "is C# hard", ()),
        ("C#", "vitamin C", ()),
        (".NET", "the net income", ()),
    ],
)
def test_a_keyword_is_not_found_where_only_its_letters_are(
    keyword: str, question: str, examples: tuple[str, ...]
) -> None:
    assert not hits(keyword, question, examples=examples)


def test_english_keeps_its_i_beside_turkish() -> None:
    catalog = catalog_of(
        flow("billing", keywords=("invoice",), examples=("send the invoice",)),
        flow("fatura", keywords=("ısıtma",), examples=TURKISH),
    )

    route = choose_route(Query(question="INVOICE PLEASE"), fit_router(catalog), catalog)

    assert [each.detail for each in route.evidence if each.kind == "keyword"] == [
        'the question contains the keyword "invoice"'
    ]


@pytest.mark.parametrize(
    ("examples", "mistyped", "meant"),
    [
        (("заказать пиццу", "где моя пицца"), "где моя пицац", "где моя пицца"),
        (("που είναι η παραγγελία",), "που είναι η παραγγλία", "που ειναι η παραγγελια"),
        (("请给我退款",), "请给我退歀", "请给我退歀"),
        (("방을 예약하고 싶어요",), "방을 예악하고 싶어요", "방을 예악하고 싶어요"),
    ],
)
def test_spelling_is_mended_only_where_the_alphabet_allows_it(
    examples: tuple[str, ...], mistyped: str, meant: str
) -> None:
    router = fit_router(catalog_of(flow("one", examples=examples)))

    assert router.mended(mistyped) == meant
