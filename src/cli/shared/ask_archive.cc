#include "cli/shared/ask_archive.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/error.h"
#include "cli/shared/archive_slots.h"
#include "io/foreign_writer.h"
#include "receive/status_socket.h"
#include "relay/sockets.h"
#include "status/view_json.h"

namespace weir::cli {

namespace {

/// If the file system has no sockets, or the receiver's could not be created, the lock shows that
/// one runs.
void look_at_lock(status::StatusReport& report, const std::string& directory) {
  const auto holder = io::find_lock_holder(directory);
  if (!holder) return;
  report.receiver_error = fmt::format(
      "process {}{} holds the archive's lock and cannot be queried: it is a receiver without a "
      "socket in the directory (see its log), or pgweir import",
      holder->process, holder->program.empty() ? "" : " (" + holder->program + ")");
  report.receiver_mute = true;
}

/// nullopt also if it cannot be queried.
std::optional<receive::ReceiverView> answer_of_receiver(const std::string& directory) {
  try {
    const auto answer = receive::StatusSocket::ask(directory);
    return answer ? status::receiver_of(*answer, std::chrono::system_clock::now()) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void ask_receiver(status::StatusReport& report, const std::string& directory) {
  try {
    const auto answer = receive::StatusSocket::ask(directory);
    if (answer) report.receiver = status::receiver_of(*answer, std::chrono::system_clock::now());
    if (!answer) look_at_lock(report, directory);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::retry && error.kind() != ErrorKind::io) throw;
    report.receiver_error = error.what();
    report.receiver_silent = error.kind() == ErrorKind::retry;
  }
}

void ask_receiver_again(status::StatusReport& report, const std::string& directory) {
  if (!report.receiver || !report.receiver->stream) return;
  status::StatusReport again;
  ask_receiver(again, directory);
  if (!again.receiver || !again.receiver->stream ||
      again.receiver->stream->timeline != report.receiver->stream->timeline)
    return;
  report.receiver = std::move(again.receiver);
}

void ask_relays(status::StatusReport& report, const std::string& directory) {
  constexpr std::chrono::seconds kPatience(5);
  auto relays = relay::ServeSocket::ask(directory);
  for (const auto& answer : relays.answers)
    if (auto relay = status::relay_of(answer, std::chrono::system_clock::now()))
      report.relays.push_back(std::move(*relay));
  report.relay_errors = std::move(relays.errors);
  try {
    report.slots = list_archive_slots(directory, kPatience);
    return;
  } catch (const Error& error) {
    report.slots_error = error.what();
    if (error.kind() != ErrorKind::retry) return;
  }
  try {
    report.slots = read_archive_slots(directory);
  } catch (const Error& error) {
    report.slots_error = error.what();
  }
}

void take_answers(status::StatusReport& report, status::StatusReport&& asked) {
  report.relays = std::move(asked.relays);
  report.relay_errors = std::move(asked.relay_errors);
  report.slots = std::move(asked.slots);
  report.slots_error = std::move(asked.slots_error);
  take_receiver(report, asked);
}

void take_receiver(status::StatusReport& report, const status::StatusReport& asked) {
  report.receiver = asked.receiver;
  report.receiver_error = asked.receiver_error;
  report.receiver_silent = asked.receiver_silent;
  report.receiver_mute = asked.receiver_mute;
}

std::optional<archive::DurableEnd> durable_end_of(const std::string& directory) {
  return ReceiverQuery(directory).durable_end();
}

std::optional<archive::DurableEnd> ReceiverQuery::durable_end() {
  const auto view = answer_of_receiver(directory_);
  idle_ = view && !view->stream;
  if (!view || !view->stream) return std::nullopt;
  return archive::DurableEnd{view->stream->timeline, view->stream->flush, view->stream->write};
}

}  // namespace weir::cli
