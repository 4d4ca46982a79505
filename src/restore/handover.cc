#include "restore/handover.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>  // check-includes: a local socket, not a server's
#include <sys/un.h>      // check-includes: a local socket, not a server's
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "io/posix_directory.h"

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
  io::FileIdentity target;
  std::uint64_t system_identifier = 0;
  bool system_identifier_known = false;
  bool verify = true;
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
};
static_assert(std::is_trivially_copyable_v<QuestionMessage> &&
              std::is_trivially_copyable_v<ReplyMessage>);

Build this_build() {
  Build build;
  constexpr std::string_view kText = PGWEIR_VERSION "/handover 1";
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

struct Address {
  sockaddr_un address{};
  socklen_t size = 0;
};

Address address_of(const io::FileIdentity& target) {
  Address made;
  made.address.sun_family = AF_UNIX;
  const auto text =
      fmt::format("pgweir-prefetch-{}-{:x}-{:x}", ::geteuid(), target.device, target.inode);
  // The leading zero byte makes it a name without a file.
  std::copy_n(text.begin(), std::min(text.size(), sizeof(made.address.sun_path) - 1),
              made.address.sun_path + 1);
  made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return made;
}

int make_socket(int flags) { return ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0); }

/// The process on the other side if it runs as the same user, else 0.
pid_t same_users_process(const Channel& channel) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(channel.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.uid == ::geteuid() ? peer.pid : 0;
}

template <typename Message>
bool send_message(const Channel& channel, const Message& message) {
  return ::send(channel.fd(), &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof message);
}

/// False at the timeout, too.
bool wait_for_message(const Channel& channel, std::chrono::milliseconds patience) {
  pollfd wanted{channel.fd(), POLLIN, 0};
  int result = 0;
  do {
    result = ::poll(&wanted, 1, static_cast<int>(patience.count()));
  } while (result < 0 && errno == EINTR);
  return result > 0;
}

struct Received {
  bool whole = false;
  ReplyMessage message;
  Channel descriptor;
};

Received receive_reply(const Channel& channel) {
  Received received;
  iovec part{&received.message, sizeof received.message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = ::recvmsg(channel.fd(), &header, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  for (auto* part_of = CMSG_FIRSTHDR(&header); part_of != nullptr;
       part_of = CMSG_NXTHDR(&header, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(part_of), sizeof fd);
    received.descriptor = Channel(fd);
  }
  received.whole = count == static_cast<ssize_t>(sizeof received.message);
  return received;
}

}  // namespace

Channel::Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Channel& Channel::operator=(Channel&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
Channel::~Channel() {
  if (fd_ >= 0) ::close(fd_);
}

Reply ask_for(wal::SegmentName segment, const Terms& terms, std::chrono::milliseconds patience) {
  const Channel channel(make_socket(0));
  if (!channel) return {};
  // A helper that was stopped, with its backlog full, must not stop the recovery.
  const timeval limit{.tv_sec = patience.count() / 1000,
                      .tv_usec = static_cast<suseconds_t>(patience.count() % 1000 * 1000)};
  ::setsockopt(channel.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const auto address = address_of(terms.target);
  if (::connect(channel.fd(), reinterpret_cast<const sockaddr*>(&address.address), address.size) !=
      0)
    return {};
  // Somebody else's process under this address is none of our helpers; ours could not get it.
  const auto helper = same_users_process(channel);
  if (helper == 0) return {.kind = Reply::Kind::miss};

  const QuestionMessage question{
      .build = this_build(),
      .segment = name_from(segment.to_string()),
      .archive = terms.archive,
      .target = terms.target,
      .system_identifier = terms.system_identifier.value_or(0),
      .system_identifier_known = terms.system_identifier.has_value(),
      .verify = terms.verify,
  };
  if (!send_message(channel, question)) return {.kind = Reply::Kind::miss};
  for (bool answered = false;; answered = true) {
    if (!wait_for_message(channel, patience)) {
      // It is there and says nothing: it hangs, and would go on to cost each segment this time.
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
                               .identity = message.identity,
                               .size = *size,
                               .first_record = wal::Lsn(message.first_record),
                               .previous_record = wal::Lsn(message.previous_record),
                               .before = before,
                               .before_identity = message.before_identity},
            .content = io::adopt_file(fd, "(fetched) " + segment.to_string())};
  }
}

Channel take_address(const io::FileIdentity& target) {
  Channel channel(make_socket(SOCK_NONBLOCK));
  const auto address = address_of(target);
  if (!channel ||
      ::bind(channel.fd(), reinterpret_cast<const sockaddr*>(&address.address), address.size) != 0)
    return Channel();
  return channel;
}

bool listen_for_questions(const Channel& address) {
  constexpr int kBacklog = 8;
  return ::listen(address.fd(), kBacklog) == 0;
}

bool has_message(const Channel& channel) {
  pollfd wanted{channel.fd(), POLLIN, 0};
  return ::poll(&wanted, 1, 0) > 0;
}

Channel accept_question(const Channel& listening) {
  Channel channel(::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!channel || same_users_process(channel) == 0) return Channel();
  return channel;
}

std::optional<Question> read_question(const Channel& channel) {
  QuestionMessage message;
  ssize_t count = 0;
  do {
    count = ::recv(channel.fd(), &message, sizeof message, 0);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return std::nullopt;
  if (count != static_cast<ssize_t>(sizeof message) || message.build != this_build())
    return Question{};
  Question question{.understood = true,
                    .terms = {.archive = message.archive,
                              .target = message.target,
                              .system_identifier = std::nullopt,
                              .verify = message.verify},
                    .segment = wal::SegmentName::parse(text_of(message.segment))};
  if (message.system_identifier_known) question.terms.system_identifier = message.system_identifier;
  return question;
}

void reply_miss(const Channel& channel) {
  send_message(channel, ReplyMessage{.kind = ReplyMessage::Kind::miss});
}

void reply_working(const Channel& channel) {
  send_message(channel, ReplyMessage{.kind = ReplyMessage::Kind::working});
}

void reply_here(const Channel& channel, const Fetched& fetched, const io::File& content) {
  ReplyMessage message{.kind = ReplyMessage::Kind::here,
                       .source = name_from(fetched.source.to_string()),
                       .before = fetched.before ? name_from(fetched.before->to_string()) : Name{},
                       .identity = fetched.identity,
                       .before_identity = fetched.before_identity,
                       .segment_size = fetched.size.bytes(),
                       .first_record = fetched.first_record.byte(),
                       .previous_record = fetched.previous_record.byte()};
  iovec part{&message, sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  auto* const attached = CMSG_FIRSTHDR(&header);
  attached->cmsg_level = SOL_SOCKET;
  attached->cmsg_type = SCM_RIGHTS;
  attached->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = content.descriptor();
  std::memcpy(CMSG_DATA(attached), &fd, sizeof fd);
  // If it fails, the one who asked is gone, or will be told by the end of the connection.
  static_cast<void>(::sendmsg(channel.fd(), &header, MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace weir::restore
