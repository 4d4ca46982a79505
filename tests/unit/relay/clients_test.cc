#include "relay/clients.h"

#include <gtest/gtest.h>

#include "net/wake.h"
#include "relay/hub.h"

namespace weir::relay::clients_test {
namespace {

using namespace std::chrono_literals;
using Phase = WalsenderState::Phase;
using wal::Lsn;

WalsenderState::Status streaming(std::uint64_t sent, std::uint64_t flush, std::uint64_t apply,
                                 std::uint64_t replies) {
  WalsenderState::Status status;
  status.phase = Phase::streaming;
  status.timeline = 1;
  status.sent = Lsn(sent);
  status.write = status.flush = Lsn(flush);
  status.apply = Lsn(apply);
  status.replies = replies;
  return status;
}

class ClientsTest : public ::testing::Test {
 protected:
  static Waiting waiting() {
    return {StandbyNames::parse("FIRST 1 (a, b)"), StandbyNames::parse("ANY 1 (a)")};
  }
  const wal::TimelineHistory history_{1};
  std::vector<Feedback> told_;
  std::vector<std::string> news_;
  Clients clients_{waiting(), [this](const Feedback& feedback) { told_.push_back(feedback); },
                   [this](const archive::DownstreamClient& client, const std::string& why) {
                     news_.push_back(client.application_name + ": " + why);
                   }};
};

TEST_F(ClientsTest, SayWhatHasChangedAndNothingElse) {
  clients_.set_slots(Xmins{});
  ASSERT_EQ(told_.size(), 1u) << "nothing is held: what an earlier process held is let go";
  EXPECT_EQ(told_.back().xmins, Xmins{});
  {
    Clients::Guest guest(clients_, {.application_name = "a"});
    guest.tell(streaming(100, 0, 0, 0), history_);
    guest.tell(streaming(200, 0, 0, 0), history_);
    EXPECT_EQ(told_.size(), 1u);
    guest.tell(streaming(200, 150, 90, 1), history_);
    ASSERT_EQ(told_.size(), 2u);
    EXPECT_EQ(told_.back().applied, Lsn(90));
    EXPECT_EQ(told_.back().flushed, Lsn(150));
    guest.tell(streaming(200, 150, 90, 2), history_);
    EXPECT_EQ(told_.size(), 2u);
    guest.goes("the connection is closed");
  }
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_.back().applied, Lsn());
  EXPECT_EQ(news_, (std::vector<std::string>{"a: ", "a: the connection is closed"}));
}

TEST_F(ClientsTest, KnowNothingOfXminsBeforeTheSlotsAreKnown) {
  Clients::Guest guest(clients_, {.application_name = "a"});
  auto status = streaming(100, 0, 0, 0);
  status.xmins = {.xmin = 700};
  guest.tell(status, history_);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(told_.back().xmins, std::nullopt);
  clients_.set_slots(Xmins{.xmin = 600});
  EXPECT_EQ(told_.back().xmins, Xmins{.xmin = 600});
  clients_.set_slots(Xmins{});
  EXPECT_EQ(told_.back().xmins, Xmins{.xmin = 700});
}

TEST_F(ClientsTest, AreShownAsPgStatReplicationShowsThem) {
  Clients::Guest a(clients_, {.pid = 7, .user = "repl", .application_name = "b"});
  Clients::Guest b(clients_, {.application_name = "B"});
  Clients::Guest c(clients_, {.application_name = "c"});
  a.tell(streaming(300, 200, 100, 1), history_);
  b.tell(streaming(300, 200, 100, 1), history_);
  const auto view = clients_.view();
  ASSERT_EQ(view.size(), 3u);
  EXPECT_EQ(view[0].pid, 7u);
  EXPECT_EQ(view[0].user, "repl");
  EXPECT_EQ(view[0].state, "streaming");
  EXPECT_EQ(view[0].sent, Lsn(300));
  EXPECT_EQ(view[0].flush, Lsn(200));
  EXPECT_EQ(view[0].replay, Lsn(100));
  EXPECT_TRUE(view[0].reply_time);
  EXPECT_EQ(view[0].sync_state, "sync");
  EXPECT_EQ(view[1].sync_state, "potential");
  EXPECT_EQ(view[2].sync_state, "async");
  EXPECT_EQ(view[2].state, "startup");
  EXPECT_FALSE(view[2].reply_time);
}

TEST_F(ClientsTest, SayNothingForWhomNobodyWaitsBeyondWhatItNeeds) {
  clients_.set_slots(Xmins{});
  Clients::Guest guest(clients_, {.application_name = "c"});
  guest.tell(streaming(200, 150, 90, 1), history_);
  EXPECT_EQ(told_.size(), 1u);
  auto status = streaming(200, 150, 90, 1);
  status.xmins = {.xmin = 700};
  guest.tell(status, history_);
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_EQ(told_.back().xmins, Xmins{.xmin = 700});
  EXPECT_EQ(told_.back().applied, Lsn());
  EXPECT_EQ(told_.back().flushed, Lsn());
}

TEST_F(ClientsTest, GoOnByTheHistoryThatIsServed) {
  Clients::Guest a(clients_, {.application_name = "a"});
  Clients::Guest c(clients_, {.application_name = "c"});
  a.tell(streaming(0x300, 0x280, 0x260, 1), history_);
  EXPECT_EQ(told_.back().timeline, 1u);
  EXPECT_EQ(told_.back().applied, Lsn(0x260));
  c.tell(streaming(0x300, 0, 0, 0), *wal::TimelineHistory::parse(2, "1\t0/200\tx\n"));
  EXPECT_EQ(told_.back().timeline, 2u);
  EXPECT_EQ(told_.back().applied, Lsn(0x200)) << "what was left behind is not applied there";
}

TEST_F(ClientsTest, HoldBackAllButTheCandidates) {
  EXPECT_TRUE(clients_.holds_back("b"));
  EXPECT_FALSE(clients_.holds_back("A"));
  EXPECT_FALSE(Clients({}, [](const Feedback&) {}).holds_back("b"));
}

TEST(Lag, IsTheTimeFromSendingToTheReply) {
  const Lag::Time begin{1h};
  Lag lag;
  EXPECT_EQ(lag.now(), std::nullopt);
  lag.on_sent(Lsn(100), begin);
  lag.on_sent(Lsn(200), begin + 1s);
  lag.on_reply(Lsn(50), begin + 2s);
  EXPECT_EQ(lag.now(), std::nullopt) << "nothing of it has come yet";
  lag.on_reply(Lsn(100), begin + 3s);
  EXPECT_EQ(lag.now(), 3s);
  lag.on_reply(Lsn(200), begin + 5s);
  EXPECT_EQ(lag.now(), 4s);
  lag.on_reply(Lsn(200), begin + 9s);
  EXPECT_EQ(lag.now(), std::nullopt) << "all was said before";
}

TEST(Lag, IsBoundedForAClientThatSaysNothing) {
  const Lag::Time begin{1h};
  Lag lag;
  for (unsigned i = 1; i <= 100'000; ++i) lag.on_sent(Lsn(i), begin + std::chrono::seconds(i));
  lag.on_reply(Lsn(100'000), begin + 100'010s);
  EXPECT_EQ(lag.now(), 10s);
}

TEST(Hub, HoldsBackUntilCandidatesHaveFlushed) {
  Hub hub({wal::TimelineHistory(1), Lsn(0x300)}, true);
  EXPECT_EQ(hub.served()->hold, Lsn());
  net::Wake wake;
  const Hub::Guest guest(hub, [&] { wake.raise(); });
  hub.on_flushed_downstream(1, Lsn(0x250));
  EXPECT_EQ(hub.served()->hold, Lsn(0x250));
  EXPECT_TRUE(wake.raised());
  hub.on_flushed_downstream(1, Lsn());  // all candidates have gone
  EXPECT_EQ(hub.served()->hold, Lsn(0x250)) << "what they have stays flushed";
  EXPECT_EQ(hub.on_durable(wal::TimelineHistory(1), Lsn(0x400)), ServedEnd::Told::further);
  EXPECT_EQ(hub.served()->hold, Lsn(0x250));
  // The timeline is left before that.
  EXPECT_EQ(hub.on_durable(*wal::TimelineHistory::parse(2, "1\t0/200\tx\n"), Lsn(0x280)),
            ServedEnd::Told::switched);
  EXPECT_EQ(hub.served()->hold, Lsn(0x200));
  hub.on_flushed_downstream(1, Lsn(0x300));  // of another timeline
  EXPECT_EQ(hub.served()->hold, Lsn(0x200));
  EXPECT_EQ(Hub({wal::TimelineHistory(1), Lsn(0x300)}).served()->hold, std::nullopt);
}

}  // namespace
}  // namespace weir::relay::clients_test
