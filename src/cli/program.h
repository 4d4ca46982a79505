#pragma once

#include <string>
#include <vector>

namespace weir::cli {

/// The whole program: picks the command, runs it, tells the error that ended it on stderr, returns
/// the exit status. Masks passwords in `words`, which others can read in the process list.
int run(int count, char** words);

using Words = std::vector<std::string>;

// The commands: `words` is what follows the command's name. They return the exit status, 0 or 1,
// and throw Error for the rest.
int receive_command(const Words& words);
/// Throws nothing: its exit statuses are its own (0, 1, 200), since PostgreSQL reads them.
int restore_command(const Words& words);
int verify_command(const Words& words);
int prune_command(const Words& words);
int compress_command(const Words& words);
int ack_command(const Words& words);
int slot_command(const Words& words);
int logical_command(const Words& words);
int status_command(const Words& words);
int config_command(const Words& words);
int doctor_command(const Words& words);
int listen_command(const Words& words);
int notify_command(const Words& words);
int help_command(const Words& words);

}  // namespace weir::cli
