"""A keyword is found as its script writes words: in every way to write it, in its forms, and not inside other words."""

from __future__ import annotations

import unicodedata

import pytest

from agentic_flywheel.routing.corpus import Corpus, Intent, Sample
from agentic_flywheel.routing.encoder import static_encoder
from agentic_flywheel.routing.keywords import KeywordRules
from agentic_flywheel.routing.words import words

TABLE = static_encoder(["Где моя посылка и когда она придёт"])

#: A word of each script, with a letter that makes another word of it in front.
WORDS = """faktura ż
посылка ж
λογαριασμός ξ
պատվեր ք
ანგარიში ჟ
फ़ॉर्म क
চালান ক
ਬਿੱਲ ਕ
ટિકિટ ક
ଟିକେଟ କ
கட்டணம் க
ఖాతా క
ಪುಸ್ತಕ ಕ
പുസ്തകം ക
බිල්පත ක
захиалга ж
پسوولە ڕ
ދަތުރު ކ
ᠪᠢᠴᠢᠭ ᠪ
ᏣᎳᎩ Ꭰ
ⵜⴰⵎⴰⵣⵉⵖⵜ ⴱ
ߒߞߏ ߓ""".splitlines()

#: A keyword, and the forms in which it is found.
FORMS = """faktura: faktury fakturę fakturami
посылка: посылку посылками
рахунок: рахунку рахунки
účtenka: účtenku účtenky
λογαριασμός: λογαριασμού λογαριασμοί
παραγγελία: παραγγελίες
rēķins: rēķinu rēķini
sąskaita: sąskaitos sąskaitų
fatura: faturamı faturalarımızdan
kitap: kitabım kitaplar
тапсырыс: тапсырысым тапсырыстар
захиалга: захиалгаа
պատվեր: պատվերս պատվերը
ანგარიში: ანგარიშის ანგარიშები ანგარიშზე
ექიმი: ექიმთან ექიმს
პარასკევი: პარასკევს
बिल: बिलों
कमरा: कमरे
किताब: किताबें किताबों
চালান: চালানের চালানটি
টাকা: টাকার টাকাটা
கட்டணம்: கட்டணத்தை கட்டணங்கள்
புத்தகம்: புத்தகத்தில் புத்தகங்கள்
మందు: మందులు
ಪುಸ್ತಕ: ಪುಸ್ತಕಗಳು
പുസ്തകം: പുസ്തകത്തിൽ
پسوولە: پسوولەکەم پسوولەکان
پارە: پارەکەم
حساب: حسابي والحساب
ደረሰኝ: ደረሰኞች በደረሰኙ
ሐኪም: ሀኪም ሀኪሙ
bank: banknya
factura: facturas
tickets: ticket
știri: ştiri ştirilor
Rückgabe: Rueckgabe
facture: factures""".splitlines()

#: Compounds, in the languages that have them.
COMPOUNDS = {
    "Wann kommt die Rechnung und was ist das, ich weiß nicht": """Rechnung: Stromrechnung Rechnungsnummer
Gebühr: Gebühren Gebuehren Mahngebühr Gebührenordnung
Konto: Girokonto Kontostand""",
    "Missä minun paketti on, ja miten maksan laskun": """lasku: laskussani sähkölaskun
paketti: pakettini paketissani postipaketin
lippu: junalippuni liput""",
    "Hol van a csomag és hogyan fizetek, nem jött meg": """számla: számlák villanyszámlám
jegy: vonatjegyet
csomag: csomagomat""",
}

#: A keyword, and words of its language that only begin with its letters.
OTHERS = """bank: bangku
порт: портвейн портфель
бар: барабан
кот: котлета
стол: столица
рис: рисунок
buku: bukti
simu: simulizi
kapı: kapital
port: portret
list: listopad
mata: matahari
bil: bilde
hus: husky
pas: pasta
कर: करना
दिन: दिनेश
মা: মাছ
கல்: கல்வி
பால்: பாலம்
سر: سرود
باب: بابا
ספר: ספרד
방: 방송
сар: сарлаг""".splitlines()


def found(keyword: str, said: str, *, context: str = "") -> bool:
    samples = tuple(Sample(text, 0, "example") for text in (context, keyword) if text)
    rules = KeywordRules(Corpus((Intent("one"),), samples, {"one": (keyword,)}), TABLE)
    return any(True for _ in rules.hits(words(said), 1.5))


@pytest.mark.parametrize("line", WORDS)
def test_a_keyword_is_found_however_it_is_written_and_not_inside_another_word(line: str) -> None:
    keyword, letter = line.split()

    for written in (
        keyword,
        keyword.upper(),
        f"«{keyword}»?",
        f"x1 {keyword}, y",
        unicodedata.normalize("NFD", keyword),
    ):
        assert found(keyword, written), written
    assert not found(keyword, letter + keyword)
    assert not found(keyword, f"{keyword[0]} {keyword[1:]}")


@pytest.mark.parametrize("line", FORMS)
def test_a_keyword_is_found_in_its_forms(line: str) -> None:
    keyword, forms = line.split(": ")

    assert [form for form in forms.split() if not found(keyword, form)] == []


@pytest.mark.parametrize("context", COMPOUNDS)
def test_a_keyword_is_found_as_the_first_or_last_part_of_a_compound_and_its_forms(context: str) -> None:
    missed = [
        form
        for line in COMPOUNDS[context].splitlines()
        for form in line.split(": ")[1].split()
        if not found(line.split(":")[0], form, context=context)
    ]

    assert missed == []


@pytest.mark.parametrize("line", OTHERS)
def test_a_keyword_is_not_found_in_words_that_only_begin_like_it(line: str) -> None:
    keyword, others = line.split(": ")

    assert [other for other in others.split() if found(keyword, other)] == []
