mod answers;
mod month;
mod shown;
mod subjects;
