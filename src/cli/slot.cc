#include "cli/program.h"
namespace weir::cli {
int slot_command(const Words&) { return 0; }
}  // namespace weir::cli
