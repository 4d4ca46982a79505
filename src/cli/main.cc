#include "cli/program.h"

int main(int count, char** words) { return weir::cli::run(count, words); }
