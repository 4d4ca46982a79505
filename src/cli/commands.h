#pragma once

#include <span>

#include "cli/command.h"

namespace weir::cli {

// Each in the file of its name. A new one is declared here and listed in commands.cc.
extern const Command kReceiveCommand;
extern const Command kRestoreCommand;
extern const Command kVerifyCommand;
extern const Command kImportCommand;
extern const Command kAckCommand;
extern const Command kDrillCommand;
extern const Command kBackupCommand;
extern const Command kRecoverCommand;
extern const Command kPruneCommand;
extern const Command kCompressCommand;
extern const Command kStatusCommand;
extern const Command kDoctorCommand;
extern const Command kSlotCommand;
extern const Command kStoreCommand;
extern const Command kServeCommand;
extern const Command kWebCommand;
extern const Command kLogicalCommand;
extern const Command kConfigCommand;
extern const Command kListenCommand;
extern const Command kNotifyCommand;
extern const Command kHelpCommand;

/// All there are, in the order in which --help lists them.
[[nodiscard]] std::span<const Command* const> commands();
/// nullptr: there is none of this name.
[[nodiscard]] const Command* find_command(std::string_view name);

}  // namespace weir::cli
