#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/find_losses.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/sizes.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "io/owner.h"
#include "io/posix_directory.h"

namespace weir::cli {

namespace {

using archive::Loss;

/// "eva@db1"
std::string who() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  const auto* const user = ::getpwuid(::geteuid());
  return fmt::format("{}@{}", user != nullptr ? user->pw_name : fmt::to_string(::geteuid()),
                     host.data());
}

struct Found {
  std::vector<Loss> losses;      ///< recorded ones, and those that the archive itself shows
  std::set<std::string> open{};  ///< IDs of holes that a receiver requests at its start
};

Found find_all(io::Directory& directory) {
  const auto listing = archive::list_archive(directory);
  auto losses = archive::read_losses(directory, listing);
  const auto identity = archive::read_identity(directory, listing);
  if (!identity) return {losses};
  const auto size = identity->segment_size;
  const auto timelines = archive::Timelines::read(directory, listing);
  auto found = archive::find_unrecorded_losses(directory, listing, timelines, size, losses);
  const auto wrong =
      archive::find_wrong_sizes(directory, listing, size, std::chrono::system_clock::now());
  auto holes = archive::find_wrong_size_holes(wrong, listing, timelines, size, losses);
  std::move(holes.begin(), holes.end(), std::back_inserter(found));
  std::set<std::string> open;
  for (const auto& loss : found)
    if (archive::is_asked_for_at_a_start(loss, listing, size, losses)) open.insert(loss.id());
  std::erase_if(losses, [](const Loss& loss) { return !loss.recorded; });
  for (auto& loss : found) {
    loss.system_identifier = identity->system_identifier;
    if (loss.kind == Loss::Kind::lost_branch) archive::count_commits(directory, listing, loss);
    losses.push_back(std::move(loss));
  }
  std::sort(losses.begin(), losses.end(),
            [](const Loss& a, const Loss& b) { return a.begin < b.begin; });
  return {std::move(losses), std::move(open)};
}

std::string line(const Loss& loss) {
  const bool branch = loss.kind == Loss::Kind::lost_branch;
  auto text = fmt::format(
      "{}: {} from {} to {} on timeline {}{}", loss.id(),
      branch ? "abandoned by a failover, kept in this archive:" : loss.words().summary, loss.begin,
      loss.end, loss.timeline,
      loss.commits ? ", " + archive::transactions_text(*loss.commits, loss.prepared) : "");
  if (loss.complaint) text += fmt::format(" ({})", *loss.complaint);
  if (loss.acknowledged)
    text += fmt::format("; acknowledged by {} at {}{}{}", loss.acknowledged->who,
                        loss.acknowledged->time, loss.acknowledged->reason.empty() ? "" : ": ",
                        loss.acknowledged->reason);
  return text + "\n";
}

/// (A recorded hole would make the archive continue after it.)
constexpr auto kBeforeGivingUp =
    "Start the receiver, or restart it, before the segment after the hole is complete: it requests "
    "this WAL from the server. If the server no longer has it, use --on-gap continue, which "
    "records the hole. Then acknowledge it.";

constexpr auto kOnlyInTheStore =
    "If only \"pgweir status --store\" shows it, the store has WAL from before this archive began: "
    "import the missing segments (\"pgweir import --extend\"), and send them (\"pgweir store "
    "push\"); or give up the WAL before the hole: \"pgweir prune --store URL --keep-from SEGMENT\" "
    "with the first segment after it.";

std::string list(const std::vector<Loss>& losses) {
  std::string text;
  for (const auto& loss : losses) text += line(loss);
  return text;
}

constexpr auto kAll = flag("all", "all losses that are not acknowledged");
constexpr auto kReason =
    option_of<any_text>("reason", "TEXT", "text that is stored with the acknowledgment");
constexpr Option kAckOptions[] = {kDirectory, kAll, kReason, kConfig, kHelp};

int ack_command(const Arguments& arguments) {
  const auto path = required_directory(arguments);
  const auto& ids = arguments.words();
  const bool all = arguments.has(kAll);
  if (all && !ids.empty())
    throw Error(ErrorKind::usage, "--all and the name of a loss cannot be combined");

  const auto directory = io::open_existing_directory(path);
  io::keep_owner(*directory);
  archive::require_not_a_server_directory(*directory);
  const auto known = find_all(*directory);
  const auto& losses = known.losses;
  if (ids.empty() && !all) {
    if (arguments.has(kReason))
      throw Error(ErrorKind::usage, "--reason needs a loss").hint("Name a loss, or add --all.");
    print(losses.empty() ? "no losses are recorded\n" : list(losses));
    return kDone;
  }
  std::vector<Loss> chosen;
  for (const auto& id : ids) {
    const auto found = std::find_if(losses.begin(), losses.end(),
                                    [&](const Loss& loss) { return loss.id() == id; });
    if (found == losses.end())
      throw Error(ErrorKind::usage, "the archive has no such loss")
          .with("id", id)
          .hint((losses.empty() ? "The archive has no recorded loss. "
                                : "Nothing was acknowledged. There is:\n" + list(losses)) +
                kOnlyInTheStore);
    if (known.open.contains(id))
      throw Error(ErrorKind::usage,
                  "this WAL is not lost yet: a receiver requests it when it starts")
          .with("id", id)
          .hint(kBeforeGivingUp);
    chosen.push_back(*found);
  }
  if (all)
    for (const auto& loss : losses) {
      if (loss.acknowledged) continue;
      if (known.open.contains(loss.id()))
        print(fmt::format("{}: not acknowledged. {}\n", loss.id(), kBeforeGivingUp));
      else
        chosen.push_back(loss);
    }
  if (chosen.empty()) {
    print("there are no losses to acknowledge\n");
    return kDone;
  }
  // The user who acknowledges may not be the archive's owner, and a receiver must be able to read
  // the file.
  io::set_file_mode(*directory, 0644);
  const auto now = format_time(std::chrono::system_clock::now());
  for (auto& loss : chosen) {
    if (!loss.recorded) {
      loss.found = now;
      archive::record_loss(*directory, loss);
    }
    loss.acknowledged = Loss::Acknowledgement{now, who(), arguments.get(kReason, "")};
    archive::acknowledge_loss(*directory, loss, *loss.acknowledged);
    print(line(loss));
  }
  return kDone;
}

constexpr OptionGroup kAckGroups[] = {{"Options:", kAckOptions}};

}  // namespace

constinit const Command kAckCommand = {
    .name = "ack",
    .summary = "acknowledge a recorded loss of WAL",
    .about = R"(pgweir ack acknowledges a recorded loss of WAL: "pgweir status --check" and the
alerts no longer report it. A loss is a hole in the archive, archived WAL that a
failover abandoned, or WAL that was written with wal_level=minimal. The WAL
remains lost: status still shows the loss, verify reports it (--accept-file),
and restore stops at it.

Usage:
  pgweir ack -D DIRECTORY [ID]... [OPTION]...

Without an ID and --all, it lists the losses. A receiver can be running.
)",
    .groups = kAckGroups,
    .most_words = SIZE_MAX,
    .run = ack_command,
};

}  // namespace weir::cli
