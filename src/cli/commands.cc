#include "cli/commands.h"

#include <algorithm>

namespace weir::cli {

namespace {

constexpr const Command* kCommands[] = {
    &kReceiveCommand, &kBackupCommand,  &kRecoverCommand, &kRestoreCommand, &kVerifyCommand,
    &kDrillCommand,   &kImportCommand,  &kAckCommand,     &kPruneCommand,   &kCompressCommand,
    &kStatusCommand,  &kDoctorCommand,  &kSlotCommand,    &kServeCommand,   &kWebCommand,
    &kStoreCommand,   &kLogicalCommand, &kConfigCommand,  &kListenCommand,  &kNotifyCommand,
    &kHelpCommand,
};

}  // namespace

std::span<const Command* const> commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  const auto all = commands();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const Command* command) { return command->name == name; });
  return found == all.end() ? nullptr : *found;
}

const Option* Command::find(std::string_view option) const {
  for (const auto& group : groups)
    for (const auto& each : group.options)
      if (each.name == option) return &each;
  return nullptr;
}

std::vector<Option> Command::options() const {
  std::vector<Option> all;
  for (const auto& group : groups)
    all.insert(all.end(), group.options.begin(), group.options.end());
  return all;
}

}  // namespace weir::cli
