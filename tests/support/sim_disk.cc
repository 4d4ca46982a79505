#include "support/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/file_removed.h"

namespace weir::sim {

struct SimDisk::Inode {
  /// A page whose content in the page cache is not what the disk holds.
  struct Unsynced {
    PagePointer on_disk;
    bool dirty = true;  ///< false after a failed sync: no later one will write it
  };
  explicit Inode(std::uint64_t number) : identity(number) {}

  std::uint64_t identity;
  std::uint64_t size = 0;
  std::uint64_t durable_size = 0;
  std::uint64_t size_synced_by = 0;          ///< newest sync that has written the size
  std::optional<std::uint64_t> cut_to = {};  ///< shortest it was since the last sync
  std::uint64_t cuts = 0;
  std::uint64_t blocks = 0;        ///< pages with space of their own, counted from the front
  std::vector<PagePointer> pages;  ///< the page cache's view; shorter than the file means zeros
  std::map<std::uint64_t, Unsynced> unsynced;
  std::vector<std::uint64_t> synced_by;  ///< page → newest sync that has written it
  std::uint64_t failed_syncs = 0;  ///< a File that has seen fewer gets the error at its next sync
  std::uint64_t locked_in = 0;  ///< epoch in which `lock_owner` took the lock: older ones are gone
  const void* lock_owner = nullptr;

  [[nodiscard]] PagePointer page(std::uint64_t index) const {
    return index < pages.size() ? pages[index] : nullptr;
  }
  /// That nobody else shares: neither the disk, nor a sync under way, nor a copy. nullptr: it is
  /// not.
  [[nodiscard]] const Page* own_page(std::uint64_t index) const {
    if (index >= pages.size() || pages[index].use_count() != 1) return nullptr;
    return pages[index].get();
  }
  void set_page(std::uint64_t index, PagePointer page) {
    if (index >= pages.size()) {
      if (!page) return;
      pages.resize(index + 1);
    }
    pages[index] = std::move(page);
  }
  [[nodiscard]] std::uint64_t writer_of(std::uint64_t index) const {
    return index < synced_by.size() ? synced_by[index] : 0;
  }
  void written_by(std::uint64_t index, std::uint64_t sync) {
    if (index >= synced_by.size()) synced_by.resize(index + 1);
    synced_by[index] = sync;
  }
};

struct SimDisk::NameChange {
  enum class Kind { create, rename, remove };
  std::uint64_t number = 0;
  Kind kind = Kind::create;
  std::string name;
  std::string to;
  InodePointer inode;
};

/// What a sync that has begun is going to make durable.
struct SimDisk::PendingSync {
  std::uint64_t number = 0;                                  ///< in the order in which they began
  InodePointer inode;                                        ///< nullptr: of the directory
  std::vector<std::pair<std::uint64_t, PagePointer>> pages;  ///< in order
  std::uint64_t size = 0;
  std::uint64_t cuts = 0;  ///< that the file had seen by then
  std::uint64_t changes_before = 0;
};

namespace {

const std::string kPath = "/sim/archive";
const std::string kNoName;

std::string path_of(const std::string& name) { return kPath + "/" + name; }

[[noreturn]] void fail(int code, SimDisk::Operation operation, const std::string& name) {
  using Operation = SimDisk::Operation;
  const std::string path = name.empty() ? kPath : path_of(name);
  if (operation == Operation::sync || operation == Operation::close ||
      operation == Operation::sync_directory)
    throw Error(ErrorKind::durability,
                "could not sync or close: " + std::generic_category().message(code))
        .with("path", path);
  if (code == EEXIST) throw Error(ErrorKind::conflict, "name exists already").with("path", path);
  throw system_error(code, "call failed").with("path", path);
}

/// The page without what lies behind `end` of the file.
template <typename Page>
std::shared_ptr<const Page> page_up_to(const std::shared_ptr<const Page>& page, std::uint64_t index,
                                       std::uint64_t end) {
  const std::uint64_t begin = index * SimDisk::kPageBytes;
  if (!page || begin + SimDisk::kPageBytes <= end) return page;
  if (begin >= end) return nullptr;
  auto shorter = std::make_shared<Page>(*page);
  std::memset(shorter->data() + (end - begin), 0, SimDisk::kPageBytes - (end - begin));
  return shorter;
}

bool coin(const SimDisk::Draw& random) { return (random() & 1) != 0; }

}  // namespace

/// One open file description.
class SimDisk::SimFile final : public io::File {
 public:
  SimFile(SimDisk& disk, std::uint64_t epoch, std::string name, InodePointer inode, bool writable)
      : disk_(disk),
        epoch_(epoch),
        name_(std::move(name)),
        inode_(std::move(inode)),
        writable_(writable),
        seen_failures_(inode_->failed_syncs) {}

  ~SimFile() override { unlock(); }

  bool try_lock() override {
    PGWEIR_CHECK(inode_);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    const bool free = inode_->lock_owner == nullptr || inode_->locked_in != epoch_;
    if (free) {
      inode_->lock_owner = this;
      inode_->locked_in = epoch_;
    }
    return locked_ = inode_->lock_owner == this;
  }

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    PGWEIR_CHECK(inode_ && writable_);
    Call call{0, Operation::write, name_, kNoName, offset, bytes.size()};
    const Effect effect = disk_.begin_call(epoch_, call);
    const std::lock_guard lock(disk_.mutex_);
    if (effect.kind == Effect::Kind::down) {
      if (disk_.epoch_ == epoch_) put(offset, bytes.first(bytes.size() / 2));
      throw MachineDown();
    }
    disk_.check_alive(epoch_);
    if (effect.kind == Effect::Kind::fail) fail(effect.code, call.operation, name_);
    if (!put(offset, bytes)) fail(ENOSPC, call.operation, name_);
  }

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    PGWEIR_CHECK(inode_);
    enter(Operation::read, offset, bytes.size());
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    return read_pages(*inode_, offset, bytes);
  }

  void allocate(std::uint64_t size) override {
    PGWEIR_CHECK(inode_ && writable_);
    enter(Operation::allocate, 0, size);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    // As fallocate(): all or nothing.
    const std::uint64_t before = inode_->blocks;
    if (disk_.reserve(*inode_, size) < size) {
      inode_->blocks = before;
      fail(ENOSPC, Operation::allocate, name_);
    }
    inode_->size = std::max(inode_->size, size);
  }

  void truncate(std::uint64_t size) override {
    PGWEIR_CHECK(inode_ && writable_);
    enter(Operation::truncate, size, 0);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    if (size < inode_->size)
      cut(*inode_, size);
    else
      inode_->size = size;
  }

  std::uint64_t identity() override {
    PGWEIR_CHECK(inode_);
    return inode_->identity;
  }

  void sync() override {
    PGWEIR_CHECK(inode_);
    PendingSync pending;
    {
      const std::lock_guard lock(disk_.mutex_);
      disk_.check_alive(epoch_);
      pending = disk_.start_sync(inode_);
    }
    Call call{0, Operation::sync, name_, kNoName, 0, 0};
    const Effect effect = disk_.begin_call(epoch_, call);
    const std::lock_guard lock(disk_.mutex_);
    if (effect.kind == Effect::Kind::down) throw MachineDown();
    disk_.check_alive(epoch_);
    if (effect.kind == Effect::Kind::defer) {
      disk_.deferred_.emplace(call.number, std::move(pending));
      return;
    }
    const bool success = effect.kind == Effect::Kind::proceed;
    disk_.finish_sync(pending, success);
    const bool told = seen_failures_ == inode_->failed_syncs;
    seen_failures_ = inode_->failed_syncs;
    if (!success) fail(effect.code, Operation::sync, name_);
    if (!told) fail(EIO, Operation::sync, name_);
    const bool has_name = std::any_of(disk_.names_.begin(), disk_.names_.end(),
                                      [&](const auto& named) { return named.second == inode_; });
    if (!has_name)
      throw io::FileRemoved(ErrorKind::durability, "a file was removed while it was in use")
          .with("path", path_of(name_));
  }

  void close() override {
    PGWEIR_CHECK(inode_);
    Call call{0, Operation::close, name_, kNoName, 0, 0};
    const Effect effect = disk_.begin_call(epoch_, call);
    const std::lock_guard lock(disk_.mutex_);
    if (effect.kind == Effect::Kind::down) throw MachineDown();
    disk_.check_alive(epoch_);
    if (locked_ && inode_->lock_owner == this) inode_->lock_owner = nullptr;
    locked_ = false;
    inode_.reset();  // closed either way
    if (effect.kind == Effect::Kind::fail) fail(effect.code, Operation::close, name_);
  }

  std::uint64_t size() override {
    PGWEIR_CHECK(inode_);
    enter(Operation::find, 0, 0);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    return inode_->size;
  }

 private:
  void unlock() {
    if (!locked_) return;
    const std::lock_guard lock(disk_.mutex_);
    if (inode_->lock_owner == this) inode_->lock_owner = nullptr;
    locked_ = false;
  }

  /// A call without anything special about its faults.
  void enter(Operation operation, std::uint64_t offset, std::uint64_t bytes) {
    Call call{0, operation, name_, kNoName, offset, bytes};
    const Effect effect = disk_.begin_call(epoch_, call);
    if (effect.kind == Effect::Kind::down) throw MachineDown();
    if (effect.kind == Effect::Kind::fail) fail(effect.code, operation, name_);
  }

  /// False if the space ended first; then a front part has been written.
  bool put(std::uint64_t offset, std::span<const std::byte> bytes) {
    const std::uint64_t end = disk_.reserve(*inode_, offset + bytes.size());
    const std::uint64_t room = end <= offset ? 0 : end - offset;
    const bool enough = room >= bytes.size();
    disk_.write_pages(*inode_, offset, enough ? bytes : bytes.first(room));
    return enough;
  }

  SimDisk& disk_;
  std::uint64_t epoch_;
  std::string name_;
  InodePointer inode_;
  bool writable_;
  std::uint64_t seen_failures_;
  bool locked_ = false;
};

class SimDisk::SimDirectory final : public io::Directory {
 public:
  SimDirectory(SimDisk& disk, std::uint64_t epoch) : disk_(disk), epoch_(epoch) {}
  ~SimDirectory() override {
    const std::lock_guard lock(disk_.mutex_);
    if (disk_.lock_owner_ == this) disk_.lock_owner_ = nullptr;
  }

  const std::string& path() const override { return kPath; }

  std::unique_ptr<io::File> create(const std::string& name) override {
    enter(Operation::create, name);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    if (disk_.names_.contains(name)) fail(EEXIST, Operation::create, name);
    if (disk_.capacity_ && disk_.used_locked() >= *disk_.capacity_)
      fail(ENOSPC, Operation::create, name);
    auto inode = std::make_shared<Inode>(disk_.next_identity_++);
    change({0, NameChange::Kind::create, name, {}, inode});
    return std::make_unique<SimFile>(disk_, epoch_, name, std::move(inode), true);
  }

  std::unique_ptr<io::File> open(const std::string& name) override { return open_as(name, true); }
  std::unique_ptr<io::File> open_for_reading(const std::string& name) override {
    return open_as(name, false);
  }

  void rename_no_replace(const std::string& from, const std::string& to) override {
    rename(from, to, false);
  }
  void rename_replace(const std::string& from, const std::string& to) override {
    rename(from, to, true);
  }

  void remove(const std::string& name) override {
    enter(Operation::remove, name);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    const auto found = disk_.names_.find(name);
    if (found == disk_.names_.end()) return;
    change({0, NameChange::Kind::remove, name, {}, found->second});
  }

  void sync() override {
    PendingSync pending;
    {
      const std::lock_guard lock(disk_.mutex_);
      disk_.check_alive(epoch_);
      pending = disk_.start_sync(nullptr);
    }
    Call call{0, Operation::sync_directory, kNoName, kNoName, 0, 0};
    const Effect effect = disk_.begin_call(epoch_, call);
    const std::lock_guard lock(disk_.mutex_);
    if (effect.kind == Effect::Kind::down) throw MachineDown();
    disk_.check_alive(epoch_);
    if (effect.kind == Effect::Kind::defer) {
      disk_.deferred_.emplace(call.number, std::move(pending));
      return;
    }
    if (effect.kind == Effect::Kind::fail) fail(effect.code, Operation::sync_directory, {});
    disk_.finish_sync(pending, true);
  }

  std::vector<io::DirectoryEntry> list() override {
    enter(Operation::list);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    std::vector<io::DirectoryEntry> entries;
    entries.reserve(disk_.names_.size());
    for (const auto& [name, inode] : disk_.names_) entries.push_back(entry_of(name, *inode));
    return entries;
  }
  std::vector<io::DirectoryName> names() override {
    enter(Operation::list);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    std::vector<io::DirectoryName> names;
    names.reserve(disk_.names_.size());
    for (const auto& [name, inode] : disk_.names_) names.push_back({name});
    return names;
  }

  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    enter(Operation::find, name);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    const auto found = disk_.names_.find(name);
    if (found == disk_.names_.end()) return std::nullopt;
    return entry_of(name, *found->second);
  }

  bool try_lock() override {
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    if (disk_.lock_owner_ == nullptr) disk_.lock_owner_ = this;
    return disk_.lock_owner_ == this;
  }

  std::uint64_t free_bytes() override {
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    if (!disk_.capacity_) return std::uint64_t{1} << 50;
    const std::uint64_t used = disk_.used_locked();
    return used >= *disk_.capacity_ ? 0 : *disk_.capacity_ - used;
  }

 private:
  static io::DirectoryEntry entry_of(const std::string& name, const Inode& inode) {
    io::DirectoryEntry entry;
    entry.name = name;
    entry.size = inode.size;
    entry.allocated = inode.blocks * kPageBytes;
    return entry;
  }

  void enter(Operation operation, const std::string& name = kNoName,
             const std::string& to = kNoName) {
    PGWEIR_CHECK(name.find('/') == std::string::npos);
    Call call{0, operation, name, to, 0, 0};
    const Effect effect = disk_.begin_call(epoch_, call);
    if (effect.kind == Effect::Kind::down) throw MachineDown();
    if (effect.kind == Effect::Kind::fail) fail(effect.code, operation, name);
  }

  std::unique_ptr<io::File> open_as(const std::string& name, bool writable) {
    enter(Operation::open, name);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    const auto found = disk_.names_.find(name);
    if (found == disk_.names_.end()) return nullptr;
    return std::make_unique<SimFile>(disk_, epoch_, name, found->second, writable);
  }

  void rename(const std::string& from, const std::string& to, bool replace) {
    enter(Operation::rename, from, to);
    const std::lock_guard lock(disk_.mutex_);
    disk_.check_alive(epoch_);
    const auto found = disk_.names_.find(from);
    if (found == disk_.names_.end()) fail(ENOENT, Operation::rename, from);
    if (!replace && disk_.names_.contains(to)) fail(EEXIST, Operation::rename, to);
    change({0, NameChange::Kind::rename, from, to, found->second});
  }

  void change(NameChange change) {
    change.number = disk_.next_change_++;
    apply(disk_.names_, change);
    disk_.changes_.push_back(std::move(change));
  }

  SimDisk& disk_;
  std::uint64_t epoch_;
};

SimDisk::SimDisk() = default;
SimDisk::~SimDisk() = default;

std::unique_ptr<io::Directory> SimDisk::open() {
  const std::lock_guard lock(mutex_);
  if (down_) throw MachineDown();
  return std::make_unique<SimDirectory>(*this, epoch_);
}

void SimDisk::set_hook(Hook hook) {
  const std::lock_guard lock(mutex_);
  hook_ = hook ? std::make_shared<const Hook>(std::move(hook)) : nullptr;
}

void SimDisk::lose_power_at(std::uint64_t number) {
  set_hook([number](const Call& call) {
    return call.number == number ? Effect::down() : Effect::proceed();
  });
}

void SimDisk::fail_at(std::uint64_t number, int code) {
  set_hook([number, code](const Call& call) {
    return call.number == number ? Effect::fail(code) : Effect::proceed();
  });
}

void SimDisk::fail_every(Operation operation, int code) {
  set_hook([operation, code](const Call& call) {
    return call.operation == operation ? Effect::fail(code) : Effect::proceed();
  });
}

void SimDisk::set_capacity(std::optional<std::uint64_t> bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

void SimDisk::complete(std::uint64_t call, bool success) {
  const std::lock_guard lock(mutex_);
  const auto found = deferred_.find(call);
  if (found == deferred_.end()) return;
  finish_sync(found->second, success);
  deferred_.erase(found);
}

void SimDisk::write_back_some(const Draw& random) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, inode] : names_)
    std::erase_if(inode->unsynced, [&, &file = *inode](const auto& page) {
      if (!page.second.dirty || !coin(random)) return false;
      file.written_by(page.first, next_sync_);  // after all syncs that have begun
      return true;
    });
}

void SimDisk::crash(const Draw& random) {
  const std::lock_guard lock(mutex_);
  power_loss(&random);
}

void SimDisk::crash_losing_everything() {
  const std::lock_guard lock(mutex_);
  power_loss(nullptr);
}

std::unique_ptr<SimDisk> SimDisk::copy() const {
  const std::lock_guard lock(mutex_);
  auto other = std::make_unique<SimDisk>();
  std::map<const Inode*, InodePointer> inodes;  // pages are shared: nobody changes one
  const auto same = [&inodes](const InodePointer& inode) {
    if (!inode) return inode;
    auto& found = inodes[inode.get()];
    if (!found) found = std::make_shared<Inode>(*inode);
    return found;
  };
  for (const auto& [name, inode] : names_) other->names_[name] = same(inode);
  for (const auto& [name, inode] : durable_names_) other->durable_names_[name] = same(inode);
  other->changes_ = changes_;
  for (auto& change : other->changes_) change.inode = same(change.inode);
  other->calls_ = calls_;
  other->epoch_ = epoch_;
  other->down_ = down_;
  other->capacity_ = capacity_;
  other->next_change_ = next_change_;
  other->next_sync_ = next_sync_;
  other->next_identity_ = next_identity_;
  return other;
}

void SimDisk::kill() {
  const std::lock_guard lock(mutex_);
  ++epoch_;
  down_ = false;
  hook_ = nullptr;
  lock_owner_ = nullptr;
  // A sync under way in the kernel goes on by itself; its pages stay dirty here, which is worse.
  deferred_.clear();
}

std::uint64_t SimDisk::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

void SimDisk::reset_calls() {
  const std::lock_guard lock(mutex_);
  calls_ = 0;
}

std::vector<std::string> SimDisk::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> result;
  for (const auto& [name, inode] : names_) result.push_back(name);
  return result;
}

bool SimDisk::exists(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return names_.contains(name);
}

std::vector<std::byte> SimDisk::content(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const Inode& file = inode(name);
  std::vector<std::byte> bytes(file.size);
  read_pages(file, 0, bytes);
  return bytes;
}

bool SimDisk::holds(const std::string& name, std::uint64_t offset,
                    std::span<const std::byte> expected) const {
  static constexpr Page kZeros{};
  const std::lock_guard lock(mutex_);
  const Inode& file = inode(name);
  if (offset + expected.size() > file.size) return false;
  while (!expected.empty()) {
    const std::uint64_t within = offset % kPageBytes;
    const auto count = std::min<std::uint64_t>(kPageBytes - within, expected.size());
    const auto index = offset / kPageBytes;
    const Page& bytes =
        index < file.pages.size() && file.pages[index] ? *file.pages[index] : kZeros;
    if (std::memcmp(bytes.data() + within, expected.data(), count) != 0) return false;
    offset += count;
    expected = expected.subspan(count);
  }
  return true;
}

std::uint64_t SimDisk::size(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return inode(name).size;
}

std::uint64_t SimDisk::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_locked();
}

void SimDisk::put(const std::string& name, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  auto file = std::make_shared<Inode>(next_identity_++);
  file->blocks = (bytes.size() + kPageBytes - 1) / kPageBytes;
  write_pages(*file, 0, bytes);
  file->unsynced.clear();
  file->durable_size = file->size;
  names_[name] = file;
  durable_names_[name] = file;
  std::erase_if(changes_, [&](const NameChange& c) { return c.name == name || c.to == name; });
}

void SimDisk::erase(const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_.erase(name);
  durable_names_.erase(name);
  std::erase_if(changes_, [&](const NameChange& c) { return c.name == name || c.to == name; });
}

/// Counts the call and asks the hook, without the lock.
SimDisk::Effect SimDisk::begin_call(std::uint64_t epoch, Call& call) {
  std::shared_ptr<const Hook> hook;
  {
    const std::lock_guard lock(mutex_);
    check_alive(epoch);
    call.number = ++calls_;
    hook = hook_;
  }
  if (!hook) return Effect::proceed();
  const Effect effect = (*hook)(call);
  if (effect.kind == Effect::Kind::down) {
    const std::lock_guard lock(mutex_);
    check_alive(epoch);
    down_ = true;
  }
  PGWEIR_CHECK(effect.kind != Effect::Kind::defer || call.operation == Operation::sync ||
               call.operation == Operation::sync_directory);
  return effect;
}

void SimDisk::check_alive(std::uint64_t epoch) const {
  if (down_ || epoch != epoch_) throw MachineDown();
}

void SimDisk::write_pages(Inode& inode, std::uint64_t offset, std::span<const std::byte> bytes) {
  static constexpr Page kZeros{};
  if (bytes.empty()) return;
  inode.size = std::max<std::uint64_t>(inode.size, offset + bytes.size());
  while (!bytes.empty()) {
    const std::uint64_t index = offset / kPageBytes;
    const std::uint64_t within = offset % kPageBytes;
    const auto count = std::min<std::uint64_t>(kPageBytes - within, bytes.size());
    // Remembers what is on the disk at the first write after a sync. A page that a failed sync
    // gave up is dirty again with this write, as a whole.
    const auto [unsynced, first] = inode.unsynced.try_emplace(index);
    if (first) unsynced->second.on_disk = inode.page(index);
    unsynced->second.dirty = true;
    const bool whole = count == kPageBytes;
    if (whole && std::memcmp(bytes.data(), kZeros.data(), kPageBytes) == 0) {
      inode.set_page(index, nullptr);
    } else if (const auto* own = inode.own_page(index)) {
      // (Pages are const for those who share them.)
      std::memcpy(const_cast<Page*>(own)->data() + within, bytes.data(), count);
    } else {
      const auto old = inode.page(index);
      auto page = whole ? std::make_shared_for_overwrite<Page>()
                  : old ? std::make_shared<Page>(*old)
                        : std::make_shared<Page>();
      std::memcpy(page->data() + within, bytes.data(), count);
      inode.set_page(index, std::move(page));
    }
    offset += count;
    bytes = bytes.subspan(count);
  }
}

std::size_t SimDisk::read_pages(const Inode& inode, std::uint64_t offset,
                                std::span<std::byte> bytes) {
  if (offset >= inode.size) return 0;
  const auto total = std::min<std::uint64_t>(bytes.size(), inode.size - offset);
  for (std::uint64_t done = 0; done < total;) {
    const std::uint64_t within = (offset + done) % kPageBytes;
    const auto count = std::min<std::uint64_t>(kPageBytes - within, total - done);
    const auto index = (offset + done) / kPageBytes;
    if (index < inode.pages.size() && inode.pages[index])
      std::memcpy(bytes.data() + done, inode.pages[index]->data() + within, count);
    else
      std::memset(bytes.data() + done, 0, count);
    done += count;
  }
  return total;
}

std::uint64_t SimDisk::used_locked() const {
  std::uint64_t pages = 0;
  for (const auto& [name, inode] : names_) pages += inode->blocks;
  return pages * kPageBytes;
}

std::uint64_t SimDisk::reserve(Inode& inode, std::uint64_t end) {
  const std::uint64_t wanted = (end + kPageBytes - 1) / kPageBytes;
  if (wanted <= inode.blocks) return end;
  std::uint64_t more = wanted - inode.blocks;
  if (capacity_) {
    const std::uint64_t used = used_locked();
    const std::uint64_t free = used >= *capacity_ ? 0 : (*capacity_ - used) / kPageBytes;
    more = std::min(more, free);
  }
  inode.blocks += more;
  return std::min(end, inode.blocks * kPageBytes);
}

SimDisk::PendingSync SimDisk::start_sync(const InodePointer& inode) {
  PendingSync sync;
  sync.number = next_sync_++;
  sync.inode = inode;
  if (inode) {
    sync.size = inode->size;
    sync.cuts = inode->cuts;
    sync.pages.reserve(inode->unsynced.size());
    for (const auto& [index, page] : inode->unsynced)
      if (page.dirty) sync.pages.emplace_back(index, inode->page(index));
  } else {
    sync.changes_before = next_change_;
  }
  return sync;
}

void SimDisk::finish_sync(PendingSync& sync, bool success) {
  if (!sync.inode) {
    if (!success) return;
    std::size_t done = 0;
    for (; done < changes_.size() && changes_[done].number < sync.changes_before; ++done)
      apply(durable_names_, changes_[done]);
    changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(done));
    return;
  }
  Inode& inode = *sync.inode;
  if (!success) ++inode.failed_syncs;
  for (auto& [index, content] : sync.pages) {
    if (success) {
      // One that began later and ended sooner has written newer bytes: they stay.
      if (inode.writer_of(index) > sync.number) continue;
      inode.written_by(index, sync.number);
    }
    const auto found = inode.unsynced.find(index);
    if (found == inode.unsynced.end()) continue;  // another sync was quicker
    const bool written_since = inode.page(index) != content;
    if (!success) {
      if (!written_since) found->second.dirty = false;
    } else if (written_since) {
      found->second.on_disk = std::move(content);
    } else {
      inode.unsynced.erase(found);
    }
  }
  if (!success || inode.size_synced_by > sync.number) return;
  inode.size_synced_by = sync.number;
  inode.durable_size = sync.size;
  if (inode.cuts == sync.cuts) inode.cut_to.reset();
}

void SimDisk::cut(Inode& inode, std::uint64_t size) {
  const std::uint64_t pages = (inode.size + kPageBytes - 1) / kPageBytes;
  for (std::uint64_t index = size / kPageBytes; index < pages; ++index) {
    const PagePointer old = inode.page(index);
    const auto [unsynced, first] = inode.unsynced.try_emplace(index, Inode::Unsynced{old, true});
    if (!first) unsynced->second.dirty = true;
    inode.set_page(index, page_up_to(old, index, size));
  }
  inode.size = size;
  inode.blocks = std::min(inode.blocks, (size + kPageBytes - 1) / kPageBytes);
  inode.cut_to = std::min(inode.cut_to.value_or(size), size);
  ++inode.cuts;
}

void SimDisk::apply(Names& names, const NameChange& change) {
  switch (change.kind) {
    case NameChange::Kind::create:
      names.try_emplace(change.name, change.inode);
      return;
    case NameChange::Kind::rename:
      // Also when the step that gave it the old name was lost: one file has one name.
      std::erase_if(names, [&](const auto& entry) { return entry.second == change.inode; });
      names[change.to] = change.inode;
      return;
    case NameChange::Kind::remove:
      if (const auto found = names.find(change.name);
          found != names.end() && found->second == change.inode)
        names.erase(found);
      return;
  }
}

/// Without `random` everything is lost that can be.
void SimDisk::power_loss(const Draw* random) {
  enum class Fate { lose_all, keep_all, mixed };
  const auto draw = [&] {
    if (!random) return Fate::lose_all;
    switch ((*random)() % 4) {
      case 0:
        return Fate::lose_all;
      case 1:
        return Fate::keep_all;
      default:
        return Fate::mixed;
    }
  };

  ++epoch_;
  down_ = false;
  hook_ = nullptr;
  lock_owner_ = nullptr;

  // Files that have (or may get back) a name, each once.
  std::map<std::uint64_t, InodePointer> files;
  std::map<const Inode*, bool> seen;
  std::uint64_t count = 0;
  const auto add = [&](const InodePointer& inode) {
    if (seen.emplace(inode.get(), true).second) files.emplace(count++, inode);
  };
  for (const auto& [name, inode] : durable_names_) add(inode);
  for (const NameChange& change : changes_) add(change.inode);

  // A sync under way may have written some of its pages.
  if (random)
    for (auto& [number, sync] : deferred_)
      if (sync.inode)
        for (auto& [index, content] : sync.pages)
          if (const auto found = sync.inode->unsynced.find(index);
              found != sync.inode->unsynced.end() && sync.inode->writer_of(index) <= sync.number &&
              coin(*random))
            found->second.on_disk = content;
  deferred_.clear();

  const Fate data_fate = draw();
  for (auto& [number, inode] : files) {
    if (inode->cut_to && *inode->cut_to < inode->durable_size) {
      if (data_fate == Fate::keep_all || (data_fate == Fate::mixed && coin(*random))) {
        inode->durable_size = *inode->cut_to;
        for (auto& [index, page] : inode->unsynced)
          page.on_disk = page_up_to(page.on_disk, index, *inode->cut_to);
      } else {
        inode->size = std::max(inode->size, inode->durable_size);
        inode->blocks = std::max(inode->blocks, (inode->size + kPageBytes - 1) / kPageBytes);
      }
    }
    inode->cut_to.reset();
    for (auto& [index, page] : inode->unsynced) {
      // A page that a failed sync gave up is never written.
      const bool mixed = data_fate == Fate::mixed && page.dirty;
      const std::uint64_t fate = mixed ? (*random)() % 3 : 0;
      if ((data_fate == Fate::keep_all && page.dirty) || (mixed && fate == 0)) continue;
      if (mixed && fate == 1) {
        auto torn = page.on_disk ? std::make_shared<Page>(*page.on_disk) : std::make_shared<Page>();
        if (const PagePointer current = inode->page(index))
          for (std::uint64_t at = 0; at < kPageBytes; at += kSectorBytes)
            if (coin(*random)) std::memcpy(torn->data() + at, current->data() + at, kSectorBytes);
        inode->set_page(index, std::move(torn));
      } else {
        inode->set_page(index, page.on_disk);
      }
    }
    inode->unsynced.clear();
    if (inode->size > inode->durable_size && data_fate != Fate::keep_all) {
      const std::uint64_t more = inode->size - inode->durable_size;
      inode->size = inode->durable_size;
      if (data_fate == Fate::mixed) {
        const std::uint64_t part = (*random)() % 3;
        inode->size += part == 0 ? 0 : part == 1 ? more : (*random)() % more;
      }
      // Nothing behind the end comes back when the file grows again.
      const std::uint64_t pages = (inode->size + kPageBytes - 1) / kPageBytes;
      if (inode->pages.size() > pages) inode->pages.resize(pages);
      inode->blocks = std::min(inode->blocks, pages);
      if (const std::uint64_t within = inode->size % kPageBytes;
          within != 0 && inode->page(pages - 1)) {
        auto last = std::make_shared<Page>(*inode->page(pages - 1));
        std::memset(last->data() + within, 0, kPageBytes - within);
        inode->set_page(pages - 1, std::move(last));
      }
    }
    inode->durable_size = inode->size;
    inode->failed_syncs = 0;
  }

  // A journal keeps a front part of the changes; other file systems keep any of them.
  const Fate name_fate = draw();
  const bool journal = name_fate == Fate::mixed && coin(*random);
  const std::uint64_t kept = journal ? (*random)() % (changes_.size() + 1) : 0;
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    const bool keep = name_fate == Fate::keep_all ||
                      (name_fate == Fate::mixed && (journal ? i < kept : coin(*random)));
    if (keep) apply(durable_names_, changes_[i]);
  }
  changes_.clear();
  names_ = durable_names_;
}

const SimDisk::Inode& SimDisk::inode(const std::string& name) const {
  const auto found = names_.find(name);
  PGWEIR_CHECK(found != names_.end());
  return *found->second;
}

}  // namespace weir::sim
