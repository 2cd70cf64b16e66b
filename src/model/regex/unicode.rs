//! The names that may stand in `\p{...}`.

/// General categories; `Cs` is known but empty, because text cannot hold surrogates.
const CATEGORIES: [&str; 38] = [
    "C", "Cc", "Cf", "Cn", "Co", "Cs", "L", "Lc", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Long names of categories, and what they stand for, in canonical spelling.
const CATEGORY_ALIASES: [(&str, &str); 42] = [
    ("Casedletter", "Lc"),
    ("Closepunctuation", "Pe"),
    ("Cntrl", "Cc"),
    ("Combiningmark", "M"),
    ("Connectorpunctuation", "Pc"),
    ("Control", "Cc"),
    ("Currencysymbol", "Sc"),
    ("Dashpunctuation", "Pd"),
    ("Decimalnumber", "Nd"),
    ("Digit", "Nd"),
    ("Enclosingmark", "Me"),
    ("Finalpunctuation", "Pf"),
    ("Format", "Cf"),
    ("Initialpunctuation", "Pi"),
    ("Letter", "L"),
    ("Letternumber", "Nl"),
    ("Lineseparator", "Zl"),
    ("Lowercaseletter", "Ll"),
    ("Mark", "M"),
    ("Mathsymbol", "Sm"),
    ("Modifierletter", "Lm"),
    ("Modifiersymbol", "Sk"),
    ("Nonspacingmark", "Mn"),
    ("Number", "N"),
    ("Openpunctuation", "Ps"),
    ("Other", "C"),
    ("Otherletter", "Lo"),
    ("Othernumber", "No"),
    ("Otherpunctuation", "Po"),
    ("Othersymbol", "So"),
    ("Paragraphseparator", "Zp"),
    ("Privateuse", "Co"),
    ("Punct", "P"),
    ("Punctuation", "P"),
    ("Separator", "Z"),
    ("Spaceseparator", "Zs"),
    ("Spacingmark", "Mc"),
    ("Surrogate", "Cs"),
    ("Symbol", "S"),
    ("Titlecaseletter", "Lt"),
    ("Unassigned", "Cn"),
    ("Uppercaseletter", "Lu"),
];

/// Scripts of Unicode 15, as Unicode spells them.
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki \
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan \
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited \
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
    Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian \
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari \
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic \
    Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage \
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan \
    Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri \
    Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh \
    Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// What a name in `\p{...}` means: a pattern for the inside of a bracket, `None` if nobody knows the name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Property {
    /// Everything.
    Any,
    /// Nothing.
    Nothing,
    /// Code points up to 0x7F.
    Ascii,
    /// Everything but category `Cn`.
    Assigned,
    /// A query of the `regex` crate.
    Named(String),
}

/// Looks a name up; case, underscores, hyphens and spaces do not matter.
pub(super) fn property(name: &str) -> Option<Property> {
    let canonical = canonical(name);
    match canonical.as_str() {
        "Any" => return Some(Property::Any),
        "Assigned" => return Some(Property::Assigned),
        "Ascii" => return Some(Property::Ascii),
        _ => {}
    }
    let alias = CATEGORY_ALIASES.iter().find(|(long, _)| *long == canonical).map(|(_, short)| *short);
    let category = alias.or_else(|| CATEGORIES.iter().copied().find(|c| *c == canonical));
    match category {
        Some("Cs") => Some(Property::Nothing),
        Some(category) => Some(Property::Named(format!("gc={category}"))),
        None => {
            let script = SCRIPTS.split_ascii_whitespace().find(|s| self::canonical(s) == canonical)?;
            Some(Property::Named(format!("sc={script}")))
        }
    }
}

/// The first letter upper case, the others lower case, without separators.
fn canonical(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.enumerate().map(|(i, c)| if i == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_known_to_the_automaton_builder() {
        let aliases = CATEGORY_ALIASES.iter().map(|(long, _)| *long);
        for name in CATEGORIES.into_iter().chain(aliases).chain(SCRIPTS.split_ascii_whitespace()) {
            match property(name) {
                Some(Property::Named(query)) => {
                    assert!(regex::Regex::new(&format!(r"[\p{{{query}}}\P{{{query}}}]")).is_ok(), "{name} as {query}");
                }
                other => assert_eq!(other, Some(Property::Nothing), "{name}"),
            }
        }
    }

    #[test]
    fn spelling_is_loose_but_foreign_properties_are_unknown() {
        assert_eq!(property("greek"), property("Greek"));
        assert_eq!(property("old_italic"), property("Old Italic"));
        assert_eq!(property("lu"), property("Uppercase_Letter"));
        for unknown in ["", "Alphabetic", "sc=Greek", "Emoji", "Age=3", "Grk", "IsGreek", "L&"] {
            assert_eq!(property(unknown), None, "{unknown}");
        }
    }
}
