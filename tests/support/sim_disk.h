#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "io/directory.h"

namespace weir::sim {

/// Thrown by every call to a disk that is down, and by every handle that was opened before it went
/// down. Not a std::exception on purpose: code that handles errors must not mistake the end of its
/// own process for one of them. Only the test catches it.
struct MachineDown {};

/// The disk of one machine with one directory in it, in memory, that forgets what was not synced.
///
/// What is modelled
/// - File data lives in the page cache until File::sync(). At a power loss each 4 KiB page that is
///   not synced is lost, kept, or torn (each 512-byte sector old or new), on its own. A new size
///   that is not synced is lost, kept or somewhere in between. A cut (File::truncate()) that is not
///   synced is lost or kept; lost, the old end is back, with each of its pages old or empty.
/// - Names (create, rename, remove) live in memory until Directory::sync(). At a power loss each
///   one is lost or kept, on its own (or, as on a file system with a journal, all up to some
///   point). A rename is atomic: one name or the other, never none nor both. File::sync() makes no
///   name durable.
/// - A sync covers what had been done when it began. Whatever is written while it is under way (a
///   hook that blocks, or Effect::defer) is not covered.
/// - After a failed File::sync() the pages it was to write count as clean: they can be read, but no
///   later sync writes them, until they are written again. Every other File of the same file that
///   was open gets the error once too, at its next sync.
/// - kill -9 of the process loses nothing that a call had done: the page cache lives on, still
///   not synced.
/// - Free space: pages that a file has blocks for; allocate() reserves them.
///
/// How a test uses it
///     SimDisk disk;
///     disk.lose_power_at(17);
///     try { auto directory = disk.open(); scenario(*directory); } catch (const MachineDown&) {}
///     disk.crash(rng);               // or disk.kill()
///     auto directory = disk.open();  // the next process
///
/// Calls are counted from 1 over everything that goes through a handle (File and Directory alike);
/// the functions of SimDisk itself are not counted and meet no fault. Every function may be called
/// from several threads; crash() and kill() while other threads are in calls ends those calls with
/// MachineDown. Handles may outlive a crash, not the SimDisk.
class SimDisk {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kSectorBytes = 512;

  enum class Operation {
    create,
    open,
    write,
    read,
    allocate,
    truncate,
    sync,
    close,
    rename,
    remove,
    sync_directory,
    list,
    find
  };
  struct Call {
    std::uint64_t number = 0;  ///< 1 for the first call
    Operation operation = Operation::find;
    const std::string& name;  ///< file, as it was named when opened; rename: the old name
    const std::string& to;    ///< rename: the new name
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  /// What a hook makes of a call.
  struct Effect {
    enum class Kind { proceed, fail, down, defer };
    Kind kind = Kind::proceed;
    int code = 0;

    static Effect proceed() { return {}; }
    /// The call does nothing and throws what the real directory throws for this errno value.
    static Effect fail(int code) { return {Kind::fail, code}; }
    /// The machine stops: this call and all later ones throw MachineDown. A write has written its
    /// first half, any other call has done nothing.
    static Effect down() { return {Kind::down, 0}; }
    /// Only for the two syncs: the call returns at once, but what it was to make durable is so
    /// only after complete(call.number): a slow sync in a simulation with one thread.
    static Effect defer() { return {Kind::defer, 0}; }
  };
  /// Asked before each call has its effect (a sync has begun by then), without a lock held: it may
  /// block, and may call the functions of SimDisk.
  using Hook = std::function<Effect(const Call&)>;

  SimDisk();
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  /// Another disk in the same state, without the handles, the hook and the lock: what can become of
  /// one moment is tried many times, and the way there is gone once. A deferred sync is not under
  /// way there: what it was to make durable stays unsynced.
  [[nodiscard]] std::unique_ptr<SimDisk> copy() const;

  /// A process opens the directory. Its lock (try_lock) is its own: two handles are two processes.
  [[nodiscard]] std::unique_ptr<io::Directory> open();

  // ---- faults ----

  void set_hook(Hook hook);                    ///< replaces the one before; an empty one removes it
  void lose_power_at(std::uint64_t call);      ///< hook: down at this call
  void fail_at(std::uint64_t call, int code);  ///< hook: this one call fails
  /// Hook: every call of this kind fails, from now on.
  void fail_every(Operation operation, int code);
  /// Bytes that all files together may have blocks for; nullopt: no limit. Below what is used
  /// already, nothing more can be had.
  void set_capacity(std::optional<std::uint64_t> bytes);
  /// Ends a deferred sync, with success or as a failed one. The caller of the sync has long gone
  /// on; a simulation tells it its own way. No effect after a crash or kill: nullopt-safe.
  void complete(std::uint64_t call, bool success = true);
  /// A source of chance: any 64 bits.
  using Draw = std::function<std::uint64_t()>;
  /// The kernel writes some unsynced pages by itself, each with probability 1/2.
  void write_back_some(const Draw& random);

  // ---- the end of a process or of the power ----

  /// Power loss. All handles become invalid, locks are gone. The draw is first how bad it is
  /// (everything lost, everything kept, or a mixture), then each page and name.
  void crash(const Draw& random);
  void crash(std::mt19937_64& random) { crash(Draw(std::ref(random))); }
  /// Power loss, the worst of it: everything that was not synced is gone.
  void crash_losing_everything();
  /// kill -9: all handles become invalid, locks are gone, all completed calls stay done.
  void kill();

  // ---- looking on, without being counted ----

  [[nodiscard]] std::uint64_t calls() const;  ///< since the beginning; crashes don't reset it
  void reset_calls();                         ///< the next call is number 1
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool exists(const std::string& name) const;
  /// What a reader sees now.
  [[nodiscard]] std::vector<std::byte> content(const std::string& name) const;
  /// The bytes at [offset, offset + bytes) of the file equal `expected`. Quicker than content().
  [[nodiscard]] bool holds(const std::string& name, std::uint64_t offset,
                           std::span<const std::byte> expected) const;
  [[nodiscard]] std::uint64_t size(const std::string& name) const;
  [[nodiscard]] std::uint64_t used_bytes() const;
  /// Puts a durable file there, replacing one of that name.
  void put(const std::string& name, std::span<const std::byte> bytes);
  /// Removes durably.
  void erase(const std::string& name);

 private:
  using Page = std::array<std::byte, kPageBytes>;
  using PagePointer = std::shared_ptr<const Page>;  ///< nullptr: zeros

  struct Inode;
  struct NameChange;
  struct PendingSync;
  class SimFile;
  class SimDirectory;
  using InodePointer = std::shared_ptr<Inode>;
  using Names = std::map<std::string, InodePointer>;

  Effect begin_call(std::uint64_t epoch, Call& call);
  void check_alive(std::uint64_t epoch) const;
  void go_down();
  void write_pages(Inode& inode, std::uint64_t offset, std::span<const std::byte> bytes);
  static std::size_t read_pages(const Inode& inode, std::uint64_t offset,
                                std::span<std::byte> bytes);
  [[nodiscard]] std::uint64_t used_locked() const;
  /// Reserves blocks up to `end`; the end of what could be had.
  std::uint64_t reserve(Inode& inode, std::uint64_t end);
  PendingSync start_sync(const InodePointer& inode);
  void finish_sync(PendingSync& sync, bool success);
  static void cut(Inode& inode, std::uint64_t size);
  static void apply(Names& names, const NameChange& change);
  void power_loss(const Draw* random);
  [[nodiscard]] const Inode& inode(const std::string& name) const;

  mutable std::mutex mutex_;
  std::shared_ptr<const Hook> hook_;
  std::uint64_t calls_ = 0;
  std::uint64_t epoch_ = 1;  ///< handles of an older epoch are dead
  bool down_ = false;
  const void* lock_owner_ = nullptr;
  std::optional<std::uint64_t> capacity_;
  Names names_;
  Names durable_names_;
  std::vector<NameChange> changes_;  ///< since durable_names_, in order
  std::uint64_t next_change_ = 1;
  std::uint64_t next_sync_ = 1;
  std::uint64_t next_identity_ = 1;
  std::map<std::uint64_t, PendingSync> deferred_;
};

}  // namespace weir::sim
