mod frames;
mod golden;
mod streams;
