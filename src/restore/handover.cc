#include "restore/handover.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <type_traits>
#include <utility>

#include "io/posix_directory.h"
#include "net/connect.h"
#include "net/pass_descriptor.h"
#include "net/wait.h"

namespace weir::restore {

namespace {

// Messages are plain structures: both sides are the same program on the same machine, which the
// first field proves. One message is one packet.

constexpr std::size_t kMostName = 64;
using Name = std::array<char, kMostName>;

/// Changes with every build that may change a structure below.
struct Build {
  std::array<char, 40> text{};
  bool operator==(const Build&) const = default;
};

struct QuestionMessage {
  Build build;
  Name segment{};
  io::FileIdentity archive;
  std::uint64_t paths = 0;
  io::FileIdentity target;
  std::uint64_t system_identifier = 0;
  bool system_identifier_known = false;
  bool verify = true;
  bool first_sound = false;
};

struct ReplyMessage {
  enum class Kind : std::uint32_t { miss = 1, working, here };
  Kind kind = Kind::miss;
  Name source{};
  Name before{};
  io::FileIdentity identity;
  io::FileIdentity before_identity;
  std::uint64_t segment_size = 0;
  std::uint64_t first_record = 0;
  std::uint64_t previous_record = 0;
  std::uint64_t records_end = 0;
  std::uint64_t archive = 0;
  std::uint64_t before_archive = 0;
  std::uint64_t silent = 0;
};
static_assert(std::is_trivially_copyable_v<QuestionMessage> &&
              std::is_trivially_copyable_v<ReplyMessage>);

Build this_build() {
  Build build;
  constexpr std::string_view kText = PGWEIR_VERSION "/handover 3";
  static_assert(kText.size() < sizeof(build.text));
  std::copy(kText.begin(), kText.end(), build.text.begin());
  return build;
}

Name name_from(const std::string& text) {
  Name name{};
  std::copy_n(text.begin(), std::min(text.size(), name.size() - 1), name.begin());
  return name;
}

std::string text_of(const Name& name) {
  return {name.begin(), std::find(name.begin(), name.end(), '\0')};
}

/// An address in the abstract namespace: a name without a file.
net::Address address_of(const io::FileIdentity& target) {
  return net::Address::unix_socket(
      fmt::format("@pgweir-prefetch-{}-{:x}-{:x}", ::geteuid(), target.device, target.inode));
}

template <typename Message>
bool send_message(const Descriptor& channel, const Message& message, int descriptor = -1) {
  return net::send_packet(channel.get(), std::as_bytes(std::span(&message, 1)), descriptor);
}

/// False at the timeout.
bool wait_for_message(const Descriptor& channel, std::chrono::milliseconds patience) {
  return net::wait_for_socket(channel.get(), true, false, nullptr,
                              std::chrono::steady_clock::now() + patience);
}

struct Received {
  bool whole = false;
  ReplyMessage message;
  Descriptor descriptor;
};

Received receive_reply(const Descriptor& channel) {
  Received received;
  auto packet =
      net::receive_packet(channel.get(), std::as_writable_bytes(std::span(&received.message, 1)));
  received.whole = packet.size == sizeof received.message;
  received.descriptor = std::move(packet.descriptor);
  return received;
}

}  // namespace

Reply ask_for(wal::SegmentName segment, const Terms& terms, std::chrono::milliseconds patience) {
  // A helper that was stopped, with its backlog full, must not stop the recovery.
  const auto connected = net::connect(address_of(terms.target), net::Kind::packets,
                                      std::chrono::steady_clock::now() + patience);
  if (connected.code != 0) return {};
  const auto& channel = connected.socket;
  // Another user's process at this address is not our helper, which could not take it.
  const auto helper = net::same_users_process(channel.get());
  if (helper == 0) return {.kind = Reply::Kind::miss};

  const QuestionMessage question{
      .build = this_build(),
      .segment = name_from(segment.to_string()),
      .archive = terms.archive,
      .paths = terms.paths,
      .target = terms.target,
      .system_identifier = terms.system_identifier.value_or(0),
      .system_identifier_known = terms.system_identifier.has_value(),
      .verify = terms.verify,
      .first_sound = terms.first_sound,
  };
  if (!send_message(channel, question)) return {.kind = Reply::Kind::miss};
  for (bool answered = false;; answered = true) {
    if (!wait_for_message(channel, patience)) {
      // It exists and does not respond: it hangs, and would cost this time for each segment.
      if (!answered) ::kill(helper, SIGKILL);
      return {.kind = Reply::Kind::miss};
    }
    auto received = receive_reply(channel);
    if (!received.whole) return {};  // it ended
    const auto& message = received.message;
    if (message.kind == ReplyMessage::Kind::working) continue;
    const auto source = archive::SegmentFileName::parse(text_of(message.source));
    const auto before = archive::SegmentFileName::parse(text_of(message.before));
    const auto size = wal::SegmentSize::of(message.segment_size);
    if (message.kind != ReplyMessage::Kind::here || !received.descriptor || !source || !size ||
        source->segment != segment)
      return {.kind = Reply::Kind::miss};
    const int fd = received.descriptor.release();
    return {.kind = Reply::Kind::here,
            .fetched = Fetched{.source = *source,
                               .archive = message.archive,
                               .identity = message.identity,
                               .size = *size,
                               .first_record = wal::Lsn(message.first_record),
                               .records_end = message.records_end,
                               .previous_record = wal::Lsn(message.previous_record),
                               .before = before,
                               .before_archive = message.before_archive,
                               .before_identity = message.before_identity,
                               .silent = message.silent},
            .content = io::adopt_file(fd, "(fetched) " + segment.to_string())};
  }
}

std::optional<net::Listener> take_address(const io::FileIdentity& target) {
  try {
    return net::Listener::bind(address_of(target), net::Kind::packets);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool has_message(const Descriptor& channel) {
  pollfd wanted{channel.get(), POLLIN, 0};
  return ::poll(&wanted, 1, 0) > 0;
}

Descriptor accept_question(net::Listener& listener) {
  auto channel = listener.accept_now();
  if (!channel || net::same_users_process(channel.get()) == 0) return Descriptor();
  return channel;
}

std::optional<Question> read_question(const Descriptor& channel) {
  QuestionMessage message;
  const auto packet =
      net::receive_packet(channel.get(), std::as_writable_bytes(std::span(&message, 1)));
  if (packet.size == 0) return std::nullopt;
  if (packet.size != sizeof message || message.build != this_build()) return Question{};
  Question question{.understood = true,
                    .terms = {.archive = message.archive,
                              .paths = message.paths,
                              .target = message.target,
                              .system_identifier = std::nullopt,
                              .verify = message.verify,
                              .first_sound = message.first_sound},
                    .segment = wal::SegmentName::parse(text_of(message.segment))};
  if (message.system_identifier_known) question.terms.system_identifier = message.system_identifier;
  return question;
}

void reply_miss(const Descriptor& channel) {
  send_message(channel, ReplyMessage{.kind = ReplyMessage::Kind::miss});
}

void reply_working(const Descriptor& channel) {
  send_message(channel, ReplyMessage{.kind = ReplyMessage::Kind::working});
}

void reply_here(const Descriptor& channel, const Fetched& fetched, const io::File& content) {
  ReplyMessage message{.kind = ReplyMessage::Kind::here,
                       .source = name_from(fetched.source.to_string()),
                       .before = fetched.before ? name_from(fetched.before->to_string()) : Name{},
                       .identity = fetched.identity,
                       .before_identity = fetched.before_identity,
                       .segment_size = fetched.size.bytes(),
                       .first_record = fetched.first_record.byte(),
                       .previous_record = fetched.previous_record.byte(),
                       .records_end = fetched.records_end,
                       .archive = fetched.archive,
                       .before_archive = fetched.before_archive,
                       .silent = fetched.silent};
  // If it fails, the client has exited, or detects the end of the connection.
  static_cast<void>(send_message(channel, message, content.descriptor().value()));
}

}  // namespace weir::restore
