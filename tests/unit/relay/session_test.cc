#include "relay/session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <new>
#include <thread>

#include "net/wait.h"
#include "relay/archive_end.h"
#include "support/archive_builder.h"
#include "unit/relay/client_script.h"
#include "wire/copy_messages.h"

namespace weir::relay::session_test {
namespace {

using namespace std::chrono_literals;
using testing::WalBuilder;
using verify::kSize;
using wal::Lsn;

/// A session over a pair of sockets, in a thread of its own. The client never says that it has got
/// anything: whoever waits for that waits for a minute.
class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    wal_.grow_to(kSize.start(4));
    archive_.segments(wal_, 1, 3, codec::Method::zstd).segments(wal_, 3, 4);
    directory_ = archive_.disk.open();
  }
  ~SessionTest() override {
    ours_.close();
    if (thread_.joinable()) thread_.join();
  }
  void begin(Lsn end, wal::TimelineHistory history = wal::TimelineHistory(1)) {
    hub_.emplace(Served{std::move(history), end});
    wal_of_all_.emplace(*directory_, cluster_, machine_threads());
    slots_.emplace(*directory_, cluster_, Slots::Options{}, *hub_, log_);
    int ends[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = Descriptor(ends[0]);
    thread_ = std::thread([this, theirs = ends[1]] {
      serve_client(std::make_unique<net::PlainStream>(Descriptor(theirs)),
                   {.user = "repl", .application_name = "test", .process = 1, .secret = 2},
                   {*directory_, cluster_, *wal_of_all_, *hub_, *slots_, clients_, log_, seldom_});
      ended_ = true;
    });
    EXPECT_EQ(hear_until('Z').back().type, 'Z');
  }
  void say(const std::string& bytes) {
    ASSERT_TRUE(net::send_all(ours_.get(), bytes, soon(), nullptr));
  }
  std::vector<Heard> hear_until(char type) {
    std::vector<Heard> all;
    while (all.empty() || all.back().type != type) {
      for (auto& each : hear(unread_)) all.push_back(std::move(each));
      if (!all.empty() && all.back().type == type) break;
      read_more();
    }
    return all;
  }
  /// So much WAL, from the messages of a stream.
  std::string wal_of_stream(std::size_t size) {
    std::string received;
    while (received.size() < size) {
      for (const auto& each : hear(unread_)) {
        EXPECT_EQ(each.type, 'd');
        if (each.body.front() == 'w') received += each.body.substr(wire::kXLogDataHead);
      }
      if (received.size() < size) read_more();
    }
    return received;
  }
  bool ends() {
    for (const auto end = soon(); std::chrono::steady_clock::now() < end;
         std::this_thread::sleep_for(5ms))
      if (ended_) return true;
    return ended_;
  }
  /// Of somebody else, whose session is `kOther`.
  std::string ask(const SlotQuestion& question) {
    const auto answer = slots_->answer(kOther, question);
    if (const auto* busy = std::get_if<slot_answer::Busy>(&answer)) return busy->report.sqlstate;
    return std::holds_alternative<slot_answer::Done>(answer) ? "done" : "something else";
  }
  std::string expected(Lsn from, Lsn to) { return test::text_of(wal_.bytes(from, to)); }

  static constexpr SessionId kOther = 9;

  WalBuilder wal_{{}};
  verify::ArchiveBuilder archive_;
  Cluster cluster_{WalBuilder::Options().system_identifier, kSize, 18};
  std::unique_ptr<io::Directory> directory_;
  NullLog log_;
  std::optional<SharedWal> wal_of_all_;
  std::optional<Hub> hub_;
  std::optional<Slots> slots_;
  Descriptor ours_;

 private:
  static net::Deadline soon() { return std::chrono::steady_clock::now() + 20s; }
  void read_more() {
    std::array<char, 4096> bytes;
    const auto count = net::receive_some(ours_.get(), bytes, soon(), nullptr);
    if (count == 0) throw Error(ErrorKind::protocol, "the session has ended");
    unread_.append(bytes.data(), count);
  }

  Clients clients_{{}, [](const Feedback&) {}};
  SeldomLog seldom_{log_, 100};
  std::string unread_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

TEST_F(SessionTest, SendsAllThatThereIsToWhoSaysNothing) {
  const auto end = wal_.complete_end(kSize.start(4));
  begin(end);
  say(query("START_REPLICATION 0/100000 TIMELINE 1"));
  EXPECT_EQ(hear_until('W').size(), 1u);
  EXPECT_TRUE(wal_of_stream(end - kSize.start(1)) == expected(kSize.start(1), end));
}

TEST_F(SessionTest, SendsWhatBecomesDurableAtOnce) {
  const auto middle = wal_.complete_end(kSize.start(2) + 5000);
  begin(middle);
  say(query("START_REPLICATION 0/200000 TIMELINE 1"));
  hear_until('W');
  EXPECT_TRUE(wal_of_stream(middle - kSize.start(2)) == expected(kSize.start(2), middle));
  const auto further = wal_.complete_end(middle + 300'000);
  EXPECT_EQ(hub_->on_durable(wal::TimelineHistory(1), further), ServedEnd::Told::further);
  EXPECT_TRUE(wal_of_stream(further - middle) == expected(middle, further));
  hub_->stop();
  EXPECT_EQ(hear_until('C').back().body, std::string("COPY 0\0", 7));
}

/// A standby fetches each history up to the newest, and the archive began with the newest.
TEST_F(SessionTest, GivesTheHistoryOfAnAncestorOfWhichNothingWasArchived) {
  const std::string first = "1\t0/280000\tno recovery target specified\n";
  const std::string second = "\n2\t0/290000\tno recovery target specified\n";
  const auto newest = first + second + "\n3\t0/2A0000\tno recovery target specified\n";
  archive_.history(4, newest);
  begin(kSize.start(3), *wal::TimelineHistory::parse(4, newest));
  const auto ask_for = [&](int timeline) {
    say(query("TIMELINE_HISTORY " + std::to_string(timeline)));
    const auto heard = hear_until('Z');
    return heard.at(1).type == 'D' ? values(heard.at(1)).at(1) : std::string(1, heard.at(1).type);
  };
  EXPECT_EQ(ask_for(4), newest);
  EXPECT_EQ(wal::TimelineHistory::parse(3, ask_for(3)),
            wal::TimelineHistory::parse(3, first + second));
  EXPECT_EQ(wal::TimelineHistory::parse(2, ask_for(2)), wal::TimelineHistory::parse(2, first));
  for (const int none : {1, 5}) EXPECT_EQ(ask_for(none), "E");
}

/// A standby would keep it, and could not start any more.
TEST_F(SessionTest, GivesNoHistoryThatCannotBeRead) {
  const std::string first = "1\t0/280000\tno recovery target specified\n";
  const auto newest = first + "\n3\t0/2A0000\tno recovery target specified\n";
  archive_.history(2, "1\t").history(3, std::string(40, '\0')).history(4, newest);
  begin(kSize.start(3), *wal::TimelineHistory::parse(4, newest));
  say(query("TIMELINE_HISTORY 3"));
  EXPECT_EQ(values(hear_until('Z').at(1)).at(1), first) << "the newest one has the same lines";
  say(query("TIMELINE_HISTORY 2"));  // no ancestor of the newest one
  const auto heard = hear_until('Z');
  EXPECT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard.front(), 'C'), "XX001");
}

/// Of one who has said more than is read now, the end would not be read, either.
TEST_F(SessionTest, NoticesThatAClientHasGoneWhoIsNotListenedTo) {
  begin(wal_.complete_end(kSize.start(4)));
  ASSERT_EQ(ask(slot_question::Create{"s", false, kSize.start(1)}), "done");
  ASSERT_EQ(ask(slot_question::Use{"s", kSize.start(1)}), "done");
  say(query("DROP_REPLICATION_SLOT s WAIT"));
  std::string more;
  while (more.size() < 80'000) more += query("IDENTIFY_SYSTEM");
  say(more);
  ours_.close();
  EXPECT_TRUE(ends());
  slots_->release(kOther);
}

TEST_F(SessionTest, FreesItsSlotWhateverEndsIt) {
  begin(wal_.complete_end(kSize.start(4)));
  ASSERT_EQ(ask(slot_question::Create{"s", false, kSize.start(1)}), "done");
  archive_.disk.set_hook([](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && !call.name.starts_with('.'))
      throw std::bad_alloc();
    return sim::SimDisk::Effect::proceed();
  });
  say(query("START_REPLICATION SLOT s 0/100000 TIMELINE 1"));
  EXPECT_TRUE(ends());
  archive_.disk.set_hook({});
  EXPECT_EQ(ask(slot_question::Use{"s", kSize.start(1)}), "done");
  slots_->release(kOther);
}

TEST_F(SessionTest, TellsASlotNothingOfTheStreamBefore) {
  const auto end = kSize.start(1) + 8192;
  begin(end);
  for (const auto* name : {"a", "b"})
    ASSERT_EQ(ask(slot_question::Create{name, false, kSize.start(1)}), "done");
  const auto place_of_b = [&] {
    say(query("READ_REPLICATION_SLOT b"));
    const auto heard = hear_until('Z');
    return values(heard.at(1)).at(1);
  };
  const auto before = place_of_b();
  say(query("START_REPLICATION SLOT a " + kSize.start(1).to_string() + " TIMELINE 1"));
  static_cast<void>(hear_until('W'));
  say(relay::say('d', wire::encode(wire::StandbyStatus{end, end, end}, 0)) + relay::say('c', ""));
  static_cast<void>(hear_until('Z'));
  // It is acquired before the rest is rejected.
  say(query("START_REPLICATION SLOT b " + kSize.start(1).to_string() + " TIMELINE 99"));
  EXPECT_EQ(hear_until('Z').front().type, 'E');
  EXPECT_EQ(place_of_b(), before);
}

}  // namespace
}  // namespace weir::relay::session_test
