#include "receive/questions.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "wire/copy_messages.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr auto kAnswerWithin = 30s;
/// Time to discard what the server has sent before it received our end.
constexpr auto kEndWithin = 1s;
/// Most errors of START_REPLICATION have no code of their own.
constexpr std::string_view kInternalError = "XX000";

/// "0A 1B …", some of them.
std::string bytes_text(std::span<const std::byte> bytes) {
  constexpr std::size_t kShown = 16;
  std::string text;
  for (const auto byte : bytes.first(std::min(bytes.size(), kShown)))
    text += fmt::format("{}{:02X}", text.empty() ? "" : " ", std::to_integer<unsigned>(byte));
  return text;
}

/// Compares received WAL with the archive's. Returns false if they differ.
bool compare_piece(const archive::Tail& tail, const wire::XLogData& data,
                   TailComparison& comparison) {
  if (data.start != comparison.at)
    throw Error(ErrorKind::protocol, "the server sent WAL out of order")
        .with("expected", comparison.at)
        .with("got", data.start);
  const auto ours = std::span(tail.wal).subspan(comparison.at - tail.begin);
  const auto theirs = data.wal.first(std::min(data.wal.size(), ours.size()));
  const auto [mine, other] =
      std::mismatch(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(theirs.size()),
                    theirs.begin(), theirs.end());
  const auto equal = static_cast<std::size_t>(mine - ours.begin());
  comparison.at = comparison.at + equal;
  if (equal == theirs.size()) return true;
  comparison.how = TailComparison::How::differs;
  comparison.archive = bytes_text(ours.subspan(equal));
  comparison.server = bytes_text(theirs.subspan(equal));
  return false;
}

}  // namespace

/// The answer is complete: it stays valid even if the server does not end the stream.
void Questioner::end(WalStream& stream) {
  try {
    stream.finish(kEndWithin);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::retry) throw;
    spoilt = true;
  }
}

bool Questioner::has_wal_at(wal::TimelineId timeline, wal::Lsn at) {
  try {
    const auto stream = server.question(at, timeline);
    const auto deadline = machine.now() + kAnswerWithin;
    const auto no_answer =
        Error(ErrorKind::retry, "the server did not report whether it still has WAL")
            .with("at", at);
    for (bool answered = false; !answered;) {
      const auto event = stream->next();
      if (std::holds_alternative<pq::NothingYet>(event)) {
        await(*stream, deadline, no_answer);
        stream->receive();
      } else {
        answered = !std::holds_alternative<wire::Keepalive>(event);
      }
    }
    end(*stream);
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::gap) throw;
    return false;
  }
}

std::string Questioner::read(wal::TimelineId timeline, wal::Lsn at, std::size_t bytes) {
  std::string read;
  try {
    const auto stream = server.question(at, timeline);
    const auto deadline = machine.now() + kAnswerWithin;
    while (read.size() < bytes) {
      const auto event = stream->next();
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        const auto piece = data->wal.first(std::min(data->wal.size(), bytes - read.size()));
        for (const auto byte : piece) read += static_cast<char>(byte);
      } else if (std::holds_alternative<pq::EndOfStream>(event)) {
        break;
      } else if (std::holds_alternative<pq::NothingYet>(event)) {
        await(*stream, deadline,
              Error(ErrorKind::retry, "the server did not send WAL that it should have")
                  .with("at", at)
                  .with("timeline", timeline));
        stream->receive();
      }
    }
    end(*stream);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::gap && error.sqlstate() != kInternalError) throw;
  }
  return read;
}

TailComparison Questioner::compare(const archive::Tail& tail) const {
  TailComparison comparison{.how = TailComparison::How::same, .file = tail.file, .at = tail.begin};
  const auto end = tail.begin + tail.wal.size();
  try {
    const auto stream = server.question(tail.begin, tail.timeline);
    const auto deadline = machine.now() + kAnswerWithin;
    const auto no_answer = [&](const std::string& what) {
      return Error(ErrorKind::retry, what)
          .with("at", comparison.at)
          .with("timeline", tail.timeline);
    };
    while (comparison.at < end) {
      const auto event = stream->next();
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        if (!compare_piece(tail, *data, comparison)) break;
      } else if (std::holds_alternative<pq::EndOfStream>(event)) {
        throw no_answer("the server ended the stream before the end of the archive");
      } else if (std::holds_alternative<pq::NothingYet>(event)) {
        await(*stream, deadline,
              no_answer("the server did not send its WAL at the end of the archive"));
        stream->receive();
      }
    }
    stream->finish(kAnswerWithin);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::gap && error.sqlstate() != kInternalError) throw;
    comparison.how = TailComparison::How::not_there;
    comparison.server = error.message();
  }
  return comparison;
}

/// Waits until the stream is readable. Throws `no_answer`, net::Interrupted.
void Questioner::await(const WalStream& stream, Time deadline, const Error& no_answer) const {
  std::array<pollfd, 2> fds{{{stream.socket(), POLLIN, 0}, {stop.fd(), POLLIN, 0}}};
  machine.poll(fds, deadline);
  if (fds[1].revents != 0) throw net::Interrupted{};
  if (fds[0].revents == 0 && machine.now() >= deadline) throw Error(no_answer);
}

}  // namespace weir::receive
