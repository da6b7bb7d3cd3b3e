//! Text corpora, vocabularies and token windows.
