//! The gateway process: the far end of one guest's network card, and the only way out.
