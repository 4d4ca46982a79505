#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/descriptor.h"
#include "io/directory.h"
#include "net/listener.h"
#include "restore/fetched.h"
#include "wal/segment.h"

namespace weir::restore {

// How a restore_command gets a segment that its helper process has fetched: over a local socket
// without a file (an address in the abstract namespace, derived from the user and the target
// directory), with the file's descriptor. Both sides check the user of the other process.

/// Parameters that must match on both sides for a prefetched file to be usable.
struct Terms {
  io::FileIdentity archive;  ///< device and inode of the directory, of a single one
  std::uint64_t paths = 0;   ///< a digest of how the archives are named
  io::FileIdentity target;
  std::optional<std::uint64_t> system_identifier;
  bool verify = true;
  bool first_sound = false;
  bool operator==(const Terms&) const = default;
};

// The client's side. Only throws errors of the file system.

struct Reply {
  enum class Kind {
    nobody,  ///< there is no helper
    miss,    ///< there is one, which does not have the segment
    here,    ///< `fetched` and `content` are set
  };
  Kind kind = Kind::nobody;
  std::optional<Fetched> fetched;
  std::unique_ptr<io::File> content;
};
/// Waits as long as the helper makes progress; gives up (and kills a helper that does not respond
/// at all) after `patience` without progress.
[[nodiscard]] Reply ask_for(wal::SegmentName segment, const Terms& terms,
                            std::chrono::milliseconds patience);

// The helper's side.

/// Takes the address for the target directory; nullopt if another process has it, or the system
/// lacks such sockets. The process that answers must call listen(): clients see it as their peer.
[[nodiscard]] std::optional<net::Listener> take_address(const io::FileIdentity& target);
/// Accepts the next client; an empty Descriptor if there is none (or one of another user).
[[nodiscard]] Descriptor accept_question(net::Listener& listener);

/// True if there is something to be read, if only the end of the connection. Does not wait.
[[nodiscard]] bool has_message(const Descriptor& channel);

struct Question {
  bool understood = false;  ///< false: of another build of this program
  Terms terms;
  std::optional<wal::SegmentName> segment;
};
/// nullopt if the client has disconnected.
[[nodiscard]] std::optional<Question> read_question(const Descriptor& channel);

void reply_miss(const Descriptor& channel);
void reply_working(const Descriptor& channel);
void reply_here(const Descriptor& channel, const Fetched& fetched, const io::File& content);

}  // namespace weir::restore
